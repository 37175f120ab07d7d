"""Where tests' servers write: in memory if there is room, and nothing of a killed run stays there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import folders


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What stands for memory; the disk is beside it."""
    for place in ("memory", "disk"):
        (tmp_path / place).mkdir()
        monkeypatch.setattr(folders, place.upper(), tmp_path / place)
    monkeypatch.setattr(folders, "LEAST_FREE_BYTES", 0)
    return tmp_path / "memory"


def _grow_old(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_what_a_killed_run_left_goes_and_what_is_in_use_stays(memory: Path) -> None:
    left, others, young = memory / "daybook-left", memory / "others", memory / "daybook-young"
    for folder in (left, others, young):
        folder.mkdir()
        (folder / "file").touch()
    used = folders.passing_folder()
    for folder in (left, others, used):
        _grow_old(folder)
    another = folders.passing_folder()
    assert sorted(memory.iterdir()) == sorted([others, young, used, another])
    folders.remove_folder(used)
    folders.remove_folder(another)
    assert sorted(memory.iterdir()) == sorted([others, young])


def test_without_room_in_memory_or_without_such_a_place_it_is_the_disk(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "LEAST_FREE_BYTES", 2**62)
    crowded = folders.passing_folder()
    monkeypatch.setattr(folders, "MEMORY", memory / "nowhere")
    assert [folder.parent for folder in (crowded, folders.passing_folder())] == [folders.DISK] * 2


def test_what_is_measured_is_on_the_disk(memory: Path) -> None:
    assert folders.short_folder().parent == folders.DISK
    assert not list(memory.iterdir())
