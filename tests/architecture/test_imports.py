"""Who may import whom: the contracts of `pyproject.toml`, and proof that what decides needs no framework."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("accounts", "config", "eventstore", "tests", "transfers", "views_readmodel")
FRAMEWORKS = {"celery", "django", "knox", "kombu", "psycopg", "redis", "rest_framework"}
PURE_EVENTSTORE = ("aggregates", "buckets", "events", "ids", "metadata", "registry")

IMPORT_AND_TELL = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _pure_modules() -> list[str]:
    files = [ROOT / "eventstore" / f"{name}.py" for name in PURE_EVENTSTORE]
    for context in ("accounts", "transfers"):
        for package in ("domain", "published"):
            files += sorted((ROOT / context / package).rglob("*.py"))
    return [_dotted(file) for file in files]


def test_the_import_contracts_are_kept() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    found = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("module", _pure_modules())
def test_a_module_that_decides_is_imported_without_a_framework(module: str) -> None:
    command = [sys.executable, "-c", IMPORT_AND_TELL, module]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert FRAMEWORKS.isdisjoint(json.loads(found.stdout))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=str(path.relative_to(ROOT)))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.parent.name != "migrations" or path.name == "__init__.py"
    ],
)
def test_a_module_opens_with_a_docstring_and_a_package_has_nothing_else(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has no docstring"
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "a package's __init__ holds a docstring only"
