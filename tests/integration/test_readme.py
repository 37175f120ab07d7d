"""The README's commands, run as they stand there, in order and in one shell, against a real `manage.py up`.

A block ```sh is run; where a block ```text follows it, that is what it must print. Only what `make` does is left to the
tests of `up`: the product that the test has started stands for `make run`.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.daybook_process import ROOT, Daybook
from tests.folders import passing_folder, remove_folder

README = ROOT / "README.md"
BLOCK = re.compile(r"^```sh\n(?P<commands>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?", re.DOTALL | re.MULTILINE)
END = "=== end of block ==="
STORY_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Block:
    """Commands, and what they print if the page says so."""

    commands: str
    printed: str | None


def _story() -> list[Block]:
    """The page's blocks, without those that are make's."""
    found = [
        Block(commands=match["commands"], printed=match["printed"]) for match in BLOCK.finditer(README.read_text())
    ]
    return [block for block in found if not block.commands.startswith("make ")]


def _script(blocks: list[Block], *, port: int) -> str:
    """One script of them all, for this machine's interpreter and the test's own port."""
    script = f"\necho '{END}'\n".join(block.commands for block in blocks)
    return script.replace(".venv/bin/python", sys.executable).replace(
        "http://127.0.0.1:8000", f"http://127.0.0.1:{port}"
    )


@pytest.fixture(scope="module")
def tellings() -> Iterator[tuple[list[str], list[str]]]:
    """What each block printed when the page was followed on a fresh Daybook, and when it was followed again."""
    folder = passing_folder()
    with Daybook(data_dir=folder, demo=True).ready() as daybook:
        daybook.wait_for_line("Log in as ")
        yield _tell(daybook), _tell(daybook)
    remove_folder(folder)


def _tell(daybook: Daybook) -> list[str]:
    """Runs the story as a newcomer's shell would; answers with what each block printed."""
    found = subprocess.run(
        ["sh", "-eu", "-c", _script(_story(), port=daybook.port)],
        cwd=ROOT,
        env=daybook.environment,
        capture_output=True,
        text=True,
        timeout=STORY_SECONDS,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout.split(f"{END}\n")


@pytest.mark.parametrize("time", [0, 1], ids=["the first time", "told again"])
def test_it_tells_a_story_that_comes_true(tellings: tuple[list[str], list[str]], time: int) -> None:
    blocks = _story()
    assert sum(block.printed is not None for block in blocks) >= 5
    for block, printed in zip(blocks, tellings[time], strict=True):
        assert block.printed in (None, printed), block.commands


def test_it_finds_the_read_models_rebuilt_and_the_ledger_clean(tellings: tuple[list[str], list[str]]) -> None:
    for *_, rebuilt in tellings:
        assert "350.00" in rebuilt.splitlines()
        assert "Nothing differs." in rebuilt
