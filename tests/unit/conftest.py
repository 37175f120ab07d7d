"""Settings of the pure tests."""

from hypothesis import settings

# A busy machine is no defect of what is tested.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
