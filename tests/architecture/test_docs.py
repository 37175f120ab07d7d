"""What the documents name is there: places in the code, tests, commands, settings, addresses, links, and stored events.

Invariant: a name in a document is in backticks or in a block of code, so that it can be checked.
"""

import ast
import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.core.management import get_commands, load_command_class
from django.urls import Resolver404, resolve

from accounts.published.events import AccountStatus
from config.up import plan
from eventstore.buckets import bucket_of
from eventstore.events import Event
from eventstore.ids import derive_id
from eventstore.metadata import Metadata
from eventstore.registry import events as registry
from eventstore.subscriptions.registry import subscriptions
from tests.architecture.test_imports import PACKAGES, ROOT
from transfers.domain.transfer import MONEY_TRANSFER, Completed
from transfers.published.events import TransferStatus

DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
ONE_TRANSFER = ROOT / "docs" / "one-transfer.md"

FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
PLACE = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?(?:::[\w.]+)*")
COMMAND = re.compile(r"manage\.py ([a-z_]+)([^`\n|]*)")
OPTION = re.compile(r"(?<!\S)--[a-z-]+")
TARGET = re.compile(r"\bmake ([a-z-]+)")
ADDRESS = re.compile(r"(?:GET|POST|PATCH) (/[^\s`?]*)")
VARIABLE = re.compile(r"([A-Z]+(?:_[A-Z]+)+)(?:=\S*)?")
JSON_BLOCK = re.compile(r"^```json\n(.*?)^```$", re.DOTALL | re.MULTILINE)
UNFINISHED = re.compile(r"\b(TODO|TBD|FIXME|XXX|[Ll]orem|[Cc]oming soon)\b|@@")
OF_ONE_MACHINE = re.compile(r"(?<![\w.~])/(?:work|home|root|Users|tmp|private)/")

by_name = pytest.mark.parametrize("document", [pytest.param(path, id=path.name) for path in DOCUMENTS])


def _text(document: Path) -> str:
    return document.read_text(encoding="utf-8")


def _spans(document: Path) -> list[str]:
    """What stands in backticks within sentences and tables."""
    return SPAN.findall(FENCE.sub("", _text(document)))


# --- Places in the code ---------------------------------------------------------------------------------------


@cache
def _top_level() -> frozenset[str]:
    return frozenset(path.name for path in ROOT.iterdir()) - {".daybook"}  # there only once it has run


@cache
def _names(path: Path) -> frozenset[str]:
    """What a Python file defines: `name`, and `Class.method` (also written `Class::method`, as pytest has it)."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
            found |= {f"{node.name}.{inner.name}" for inner in ast.walk(node) if isinstance(inner, ast.FunctionDef)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return frozenset(found)


def _places(document: Path) -> list[str]:
    found = [span for span in _spans(document) if PLACE.fullmatch(span) and span.partition("/")[0] in _top_level()]
    return [span for span in found if "/" in span or "." in span]


def _is_there(place: str) -> bool:
    file, _, name = place.partition("::")
    path = ROOT / file
    if not path.exists() or (file.endswith("/") and not path.is_dir()):
        return False
    return not name or name.replace("::", ".") in _names(path)


@by_name
def test_every_place_it_names_is_there(document: Path) -> None:
    assert [place for place in _places(document) if not _is_there(place)] == []


def test_it_would_notice_a_place_that_is_not_there() -> None:
    assert _is_there("eventstore/store.py::EventStore.run")
    assert _is_there("tests/integration/test_eventstore_subscriptions.py::TestDue::test_who_is_stopped_is_not_due")
    assert _is_there("accounts/domain/")
    missing = ["eventstore/shop.py", "eventstore/store.py::EventStore.sing", "eventstore/store.py/", "docs/stories/"]
    assert [place for place in missing if _is_there(place)] == []


def test_each_concept_has_a_place_and_a_test() -> None:
    text = _text(ROOT / "docs" / "concepts.md").partition("## Credits")[0]
    items = re.split(r"^- \*\*", text, flags=re.MULTILINE)[1:]
    assert len(items) > 30
    for item in items:
        found = re.fullmatch(r"(.+?)\*\* .+\*Where:\*(.+)\*Shown by:\*(.+?)\.\s*(?:##.*)?", item, re.DOTALL)
        assert found, item
        assert all(_is_there(place) for place in SPAN.findall(found[2])), found[1]
        shown_by = SPAN.findall(found[3])
        assert shown_by, found[1]
        assert all(place.startswith("tests/") and "::test_" in place for place in shown_by), found[1]


def test_every_document_that_the_code_names_is_there() -> None:
    files = [path for name in PACKAGES for kind in ("*.py", "*.sql") for path in (ROOT / name).rglob(kind)]
    named = {name for path in files for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))}
    assert {name for name in named if not (ROOT / name).exists()} == set()


# --- Commands, settings, addresses ----------------------------------------------------------------------------


@cache
def _options_of(command: str) -> frozenset[str]:
    parser = load_command_class(get_commands()[command], command).create_parser("manage.py", command)
    return frozenset(option for action in parser._actions for option in action.option_strings)


@by_name
def test_every_management_command_it_names_is_there_with_its_options(document: Path) -> None:
    for name, arguments in COMMAND.findall(_text(document)):
        if name == "help":
            continue
        assert name in get_commands()
        assert set(OPTION.findall(arguments)) <= _options_of(name), name


def test_the_readme_lists_the_bank_s_own_commands() -> None:
    section = _text(ROOT / "README.md").partition("\n## Commands\n")[2].partition("\n## ")[0]
    ours = {name for name, app in get_commands().items() if (ROOT / app.replace(".", "/")).is_dir()}
    told = {name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in SPAN.findall(row)}
    assert ours - {"migrate", "prepare_database"} <= told  # those two `up` runs by itself


@by_name
def test_every_make_target_it_names_is_there(document: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    code = "\n".join([*_spans(document), *FENCE.findall(_text(document))])
    assert set(TARGET.findall(code)) <= set(targets)


@by_name
def test_every_setting_it_names_is_in_the_example(document: Path) -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    known = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)) | {*TransferStatus, *AccountStatus}
    named = {match[1] for span in _spans(document) if (match := VARIABLE.fullmatch(span))}
    assert named <= known


@by_name
def test_every_address_it_names_leads_somewhere(document: Path) -> None:
    for span in _spans(document):
        match = ADDRESS.fullmatch(span)
        if match is None or match[1].endswith("…"):
            continue
        address = re.sub(r"\{\w+\}", str(UUID(int=0)), match[1])
        try:
            found = resolve(address)
        except Resolver404:
            pytest.fail(f"{address} leads nowhere")
        assert found.url_name, address  # the net under unknown API addresses has no name


def test_the_parts_are_run_by_themselves_as_up_runs_them() -> None:
    options = plan.Options(port=8000, web_processes=1, worker_processes=2, queues=("eventstore",), environment={})
    planned = [part(options=options).argv for part in (plan.web_service, plan.worker_service, plan.beat_service)]
    text = _text(ROOT / "docs" / "operations.md").replace("\\\n", " ")
    told = [shlex.split(line) for line in re.findall(r".*\.venv/bin/python -m .*", text)]
    assert len(told) == len(planned)
    for line, argv in zip(told, planned, strict=True):
        command = line[line.index("-m") :]
        names = {word for word in command if not word[:1].isdigit()}  # numbers and addresses are the operator's choice
        assert names <= set(argv), command


# --- Links and form -------------------------------------------------------------------------------------------


def _anchors(document: Path) -> set[str]:
    """The anchors of headings, as GitHub makes them."""
    headings = HEADING.findall(FENCE.sub("", _text(document)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@by_name
def test_every_link_it_has_leads_somewhere(document: Path) -> None:
    for link in LINK.findall(FENCE.sub("", _text(document))):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = document.parent / file if file else document
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@by_name
def test_it_is_finished_and_of_no_one_s_machine(document: Path) -> None:
    assert UNFINISHED.findall(_text(document)) == []
    assert OF_ONE_MACHINE.findall(_text(document)) == []


@pytest.mark.parametrize("decision", [pytest.param(path, id=path.name) for path in DECISIONS])
def test_a_decision_has_its_number_and_its_three_sections(decision: Path) -> None:
    text = _text(decision)
    title = re.match(r"# (\d+)\. \S", text)
    assert title
    assert int(title[1]) == int(decision.name[:4])
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(path.name[:4]) for path in DECISIONS] == list(range(1, len(DECISIONS) + 1))


def test_the_changelog_begins_with_what_is_not_released_and_keeps_to_the_known_kinds() -> None:
    text = _text(ROOT / "CHANGELOG.md")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[0] == "[Unreleased]"
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def test_the_glossary_is_in_order_and_explains_nothing_twice() -> None:
    words = re.findall(r"^\| (.+?) \|", _text(ROOT / "docs" / "glossary.md"), re.MULTILINE)[2:]
    assert words == sorted(set(words), key=str.lower)


# --- The events of one transfer -------------------------------------------------------------------------------


def _told_events() -> list[dict[str, Any]]:
    return [json.loads(block) for block in JSON_BLOCK.findall(_text(ONE_TRANSFER))]


def _read(told: dict[str, Any]) -> Event:
    return registry.decode(told["event_type"], told["schema_version"], json.dumps(told["data"]))


def test_the_events_it_tells_can_be_read_and_lead_to_the_state_it_tells() -> None:
    told = _told_events()
    assert [event["position"] for event in told] == list(range(told[0]["position"], told[0]["position"] + 5))
    of_transfer = [event for event in told if event["stream_type"] == MONEY_TRANSFER.stream_type]
    assert [event["version"] for event in of_transfer] == [1, 2, 3]
    assert isinstance(MONEY_TRANSFER.fold(map(_read, of_transfer)), Completed)


def test_the_events_it_tells_are_each_caused_by_the_one_before() -> None:
    first, *others = _told_events()
    before = first
    for told in others:
        metadata = msgspec.convert(told["metadata"], Metadata)
        assert str(metadata.causation_id) == before["event_id"]
        assert str(metadata.correlation_id) == first["metadata"]["correlation_id"]
        handler = metadata.actor.removeprefix("system:")
        assert subscriptions.get(handler) is not None
        assert told["event_id"] == str(derive_id(UUID(before["event_id"]), f"{handler}/0", 0))
        before = told


def test_the_buckets_it_tells_are_those_of_the_streams() -> None:
    for told in _told_events():
        route = subscriptions.route_of(_read(told))
        assert told["stream_bucket"] == bucket_of(UUID(told["stream_id"]))
        assert told["route_bucket"] == (None if route is None else bucket_of(route))
