"""Tries the mutants of the parts that are named, all without any; prints who survived.

Ends with 1 when the tests fail without any mutant. A part takes minutes, or tens of them on a busy machine.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import pytest

from tests.mutants.parts import PARTS, TOO_SLOW, Part
from tests.mutants.trying import Outcome, Trial, Tried, say


def main(arguments: list[str]) -> int:
    """Tries them; answers with the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART | FILE.py:LINE", help=", ".join(part.name for part in PARTS))
    parser.add_argument("--most-tests", type=int, help="run no more than so many tests against each, the nearest first")
    parser.add_argument("--tests", action="append", metavar="FILE", help="the tests to run in the place of the part's")
    given = parser.parse_args(arguments)
    named = [part for word in given.parts for part in PARTS if _names(word, part)]
    parts = list(dict.fromkeys(named)) or list(PARTS)
    if given.tests:
        parts = [part._replace(tests=tuple(given.tests)) for part in parts]
    trial = Trial(parts, words=given.parts, most_tests=given.most_tests)
    tests = sorted({test for part in parts for test in part.tests})
    left_out = [f"--deselect={test}" for test in TOO_SLOW]
    code = pytest.main(["-q", "--no-header", "--tb=short", "-p", "no:xdist", *left_out, *tests], plugins=[trial])
    for name, tried in trial.tried.items():
        _sum_up(name, tried)
    return int(code)


def _names(word: str, part: Part) -> bool:
    return word == part.name or part.file.endswith(word.partition(":")[0])


def _sum_up(name: str, tried: list[Tried]) -> None:
    counts = Counter(one.outcome for one in tried)
    say(f"\n{name}: {len(tried)} mutants; " + "; ".join(f"{counts[found]} {found.value}" for found in Outcome))
    for mutant, outcome, _ in tried:
        if outcome not in (Outcome.KILLED, Outcome.HUNG):
            say(f"  {outcome.value}: {mutant.place}\n    - {mutant.before}\n    + {mutant.after}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
