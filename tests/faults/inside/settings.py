"""The product's settings, and one application more, which poisons handlers when it is told to."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS as _PRODUCT

INSTALLED_APPS = [*_PRODUCT, "tests.faults.inside.apps.InsideConfig"]
