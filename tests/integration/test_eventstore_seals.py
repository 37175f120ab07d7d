"""The log is sealed soon after it was written, in a chain that says what it is made of, by one sealer at a time."""

from __future__ import annotations

import json
import os
import signal
import struct
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from io import StringIO
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, transaction

from config.processes import wait_until
from eventstore import sequencer
from eventstore.events import RecordedEvent
from eventstore.ids import new_id
from eventstore.replay import rebuild
from eventstore.sealing import erase
from eventstore.seals import heads, sealer
from eventstore.seals.hashing import SELECT_ENTRIES
from eventstore.seals.sealer import LogIncomplete, Outcome, SealInTheWay, seal_next
from eventstore.subscriptions.registry import Execute
from eventstore.tables import ADVISORY_CLASS
from eventstore.verification.findings import Difference
from eventstore.verification.running import verify
from eventstore.verification.seals import SealsCheck
from tests.integration.shops import Shop, in_process, rows, together, value, watching
from tests.shopping_cart import facts
from tests.shopping_cart.cart import CART
from tests.shopping_cart.handlers import SUBSCRIPTIONS

pytestmark = pytest.mark.usefixtures("shop_database")

SELECT_SEALS: Final = """
SELECT first_position, last_position, leaves, previous_hash, hash, sealed_at FROM eventstore_seal ORDER BY 1
"""
SELECT_LOG: Final = """
SELECT l.position, l.event_id, l.stream_bucket, l.route_bucket, l.sequenced_at, e.event_id, e.stream_type, e.stream_id,
    e.version, e.event_type, e.schema_version, e.data::text, e.metadata::text, e.recorded_at
FROM eventstore_log l JOIN eventstore_event e ON e.id = l.event_id ORDER BY l.position
"""
PATIENCE_SECONDS: Final = 30.0
# A seal over one position, of an entry that nobody wrote.
PLANT: Final = """
INSERT INTO eventstore_seal (last_position, first_position, format, leaves, previous_hash, hash, sealed_at)
VALUES (%s, %s, 1, int8send(%s), sha256('before'), sha256('planted'), clock_timestamp())
"""
# The same, as if it went on from the last one.
PLANT_BEHIND: Final = """
INSERT INTO eventstore_seal (last_position, first_position, format, leaves, previous_hash, hash, sealed_at)
SELECT %s, %s, 1, int8send(%s), hash, sha256('planted'), clock_timestamp()
FROM eventstore_seal ORDER BY last_position DESC LIMIT 1
"""
DISARM: Final = """
ALTER TABLE eventstore_event DISABLE TRIGGER eventstore_event_append_only;
ALTER TABLE eventstore_log DISABLE TRIGGER eventstore_log_append_only;
ALTER TABLE eventstore_seal DISABLE TRIGGER eventstore_seal_append_only
"""


def written(items: int = 5) -> Shop:
    """A shop with one cart, whose events are in the log: two more than the items."""
    shop = Shop(SUBSCRIPTIONS)
    shop.add(shop.open(), *(["tea"] * items))
    while sequencer.sequence() is sequencer.Outcome.MOVED:
        pass
    return shop


def ranges() -> list[tuple[int, int]]:
    """What each seal covers."""
    return rows("SELECT first_position, last_position FROM eventstore_seal ORDER BY 1")


def differences(**options: Any) -> list[Difference]:
    """What the check of the seals finds."""
    (finding,) = verify([SealsCheck(**options)], aggregates=()).findings
    assert not finding.not_compared
    return list(finding.named)


# --- What a seal is -------------------------------------------------------------------------------------------


def _micros(moment: datetime) -> bytes:
    return struct.pack(">q", (moment - datetime(2000, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


def _text(text: str) -> bytes:
    return struct.pack(">i", len(text.encode())) + text.encode()


def _entry_hash(row: tuple[Any, ...]) -> bytes:
    position, id, bucket, route, sequenced_at, event_id, type_, stream, version, name, schema, data, meta, at = row
    return sha256(
        b"\x00"
        + struct.pack(">qq", position, id)
        + event_id.bytes
        + stream.bytes
        + struct.pack(">ih", version, schema)
        + _micros(at)
        + _micros(sequenced_at)
        + struct.pack(">h", bucket)
        + (b"\x00" if route is None else b"\x01" + struct.pack(">h", route))
        + _text(type_)
        + _text(name)
        + _text(data)
        + _text(meta)
    ).digest()


def test_a_seal_is_what_the_format_says_computed_apart_from_the_database() -> None:
    shop = Shop(SUBSCRIPTIONS)
    shop.order(new_id())
    cart = shop.open()
    shop.tell(cart, facts.NameRecipient(name="Zoë 🫖", street=None))
    shop.drain()
    while seal_next(age_seconds=0, most=3) is Outcome.SEALED:
        pass
    log = rows(SELECT_LOG)
    assert {row[3] is None for row in log} == {True, False}
    before = bytes(32)
    for first, last, leaves, previous, hashed, sealed_at in rows(SELECT_SEALS):
        entries = [_entry_hash(row) for row in log[first - 1 : last]]
        assert bytes(leaves) == b"".join(entry[:8] for entry in entries)
        assert bytes(previous) == before
        head = b"\x01" + struct.pack(">hqq", 1, first, last) + before + _micros(sealed_at)
        before = sha256(head + b"".join(entries)).digest()
        assert bytes(hashed) == before
    assert last == len(log)


def test_the_hashes_do_not_follow_the_session_s_language() -> None:
    written()
    before = rows(SELECT_ENTRIES, [1, 6])
    for setting in (
        "SET timezone TO 'Asia/Kathmandu'",
        "SET datestyle TO 'SQL, DMY'",
        "SET intervalstyle TO 'sql_standard'",
        "SET extra_float_digits TO -10",
        "SET bytea_output TO 'escape'",
        "SET client_encoding TO 'LATIN1'",
    ):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(setting.replace("SET ", "SET LOCAL "))
            cursor.execute(SELECT_ENTRIES, [1, 6])
            assert cursor.fetchall() == before, setting


# --- Sealing --------------------------------------------------------------------------------------------------


def test_it_seals_in_slices_without_gap_each_in_a_transaction_of_its_own() -> None:
    written(items=10)
    while seal_next(age_seconds=0, most=4) is Outcome.SEALED:
        pass
    assert ranges() == [(1, 4), (5, 8), (9, 11)]
    assert not differences()
    assert value("SELECT count(DISTINCT xmin::text) FROM eventstore_seal") == 3
    assert seal_next(age_seconds=0) is Outcome.NOTHING


def test_it_waits_until_there_is_something_worth_a_seal() -> None:
    written()
    assert seal_next(age_seconds=60) is Outcome.NOTHING
    assert wait_until(lambda: seal_next(age_seconds=0.2) is Outcome.SEALED, timeout_seconds=PATIENCE_SECONDS)


def test_it_does_not_wait_when_the_clock_was_set_back(owner: psycopg.Connection) -> None:
    written()
    owner.execute(DISARM)
    owner.execute("UPDATE eventstore_log SET sequenced_at = sequenced_at + interval '1 hour'")
    assert seal_next(age_seconds=60) is Outcome.SEALED
    assert not differences(late_seconds=0)


def test_it_does_not_wait_when_there_is_enough_for_a_whole_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    written(items=10)
    monkeypatch.setattr(sealer, "MOST_ENTRIES", 8)
    assert seal_next(age_seconds=60, most=8) is Outcome.SEALED
    assert seal_next(age_seconds=60, most=8) is Outcome.NOTHING
    assert ranges() == [(1, 8)]


def test_one_sealer_seals_at_a_time() -> None:
    written(items=60)
    outcomes = together([lambda: _seal_all(most=1)] * 4)
    assert sum(found.count(Outcome.SEALED) for found in outcomes) == 61
    assert ranges() == [(position, position) for position in range(1, 62)]
    assert not differences()


def _seal_all(*, most: int) -> list[Outcome]:
    outcomes = [Outcome.BUSY]
    while outcomes[-1] is not Outcome.NOTHING:
        outcomes.append(seal_next(age_seconds=0, most=most))
    return outcomes


def test_sealing_all_goes_on_until_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [True, True, False]
    monkeypatch.setattr(sealer, "seal_quietly", lambda **_: answers.pop(0))
    sealer.seal_all()
    assert answers == []


def test_it_seals_at_read_committed_whatever_the_server_s_default_is() -> None:
    written()
    rows("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    levels: list[str] = []

    def look(execute: Any, statement: str, parameters: Any, many: bool, context: Any) -> Any:
        answer = execute(statement, parameters, many, context)
        if "INSERT INTO eventstore_seal" in statement:
            levels.append(connection.connection.execute("SHOW transaction_isolation").fetchone()[0])
        return answer

    with connection.execute_wrapper(look):
        assert seal_next(age_seconds=0) is Outcome.SEALED
    assert levels == ["read committed"]


def test_a_sealer_meets_another_and_leaves_it_alone(app: psycopg.Connection) -> None:
    written()
    app.autocommit = False
    app.execute(sealer._TRY_LOCK, [ADVISORY_CLASS, sealer._LOCK])
    assert seal_next(age_seconds=0) is Outcome.BUSY
    app.rollback()
    assert seal_next(age_seconds=0) is Outcome.SEALED


def test_the_database_refuses_two_seals_that_go_on_from_one(app: psycopg.Connection) -> None:
    written()
    seal_next(age_seconds=0, most=2)
    with pytest.raises(psycopg.errors.UniqueViolation):
        app.execute(
            "INSERT INTO eventstore_seal SELECT 3, 3, 1, '\\x0000000000000000', previous_hash, hash, sealed_at"
            " FROM eventstore_seal"
        )


def test_a_sealer_that_is_killed_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    written()
    seal_next(age_seconds=0, most=2)

    def killed_before_its_commit() -> None:
        def seal_and_die(*arguments: Any) -> None:
            seal(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)

        seal = sealer._seal
        monkeypatch.setattr(sealer, "_seal", seal_and_die)
        seal_next(age_seconds=0, most=2)

    assert in_process(killed_before_its_commit) == -9
    assert ranges() == [(1, 2)]
    assert wait_until(lambda: seal_next(age_seconds=0) is Outcome.SEALED, timeout_seconds=PATIENCE_SECONDS)
    assert ranges() == [(1, 2), (3, 6)]
    assert not differences()


@pytest.mark.parametrize("table", ["eventstore_log WHERE position = 3", "eventstore_event WHERE version = 3"])
def test_it_does_not_seal_what_is_not_all_there(table: str, owner: psycopg.Connection) -> None:
    shop = written()
    owner.execute(DISARM)
    owner.execute(f"DELETE FROM {table}")
    with pytest.raises(LogIncomplete, match="positions 1 to 6"):
        seal_next(age_seconds=0)
    assert ranges() == []
    assert not sealer.seal_quietly(age_seconds=0)
    assert shop.drain()  # goes on with its other work


def test_a_seal_beyond_the_end_of_the_log_stops_no_sealing_and_is_named(
    tmp_path: Path, app: psycopg.Connection
) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    app.execute(PLANT, [1_000_000] * 3)
    assert json.loads(told(shop, "export")[1])["position"] == 11
    shop.add(shop.open(), "tea")
    sequencer.sequence()
    assert sealer.backlog().entries == 2
    assert seal_next(age_seconds=0) is Outcome.SEALED
    assert ranges()[-2:] == [(12, 13), (1_000_000, 1_000_000)]
    (difference,) = differences()
    assert (difference.position, difference.field) == (1_000_000, "seal")
    assert difference.expected == "none beyond position 13, where the log ends"
    code, text = told(shop, "check", file)
    assert code == 1
    assert "found seal of positions 1000000 to 1000000" in text
    assert json.loads(told(shop, "export")[1])["position"] == 13
    *_, sealed_to, beyond = told(shop)[1].splitlines()
    assert sealed_to == "The log is sealed up to position 13; nothing waits to be sealed."
    assert beyond.startswith("1 of these seals lies beyond the end of the log")


def test_a_planted_seal_that_the_log_has_reached_is_named_and_gone_on_from(app: psycopg.Connection) -> None:
    shop = sealed()
    app.execute(PLANT, [14] * 3)
    cart = shop.open()
    shop.add(cart, "tea")
    for _ in range(2):
        sequencer.sequence()
        assert seal_next(age_seconds=0) is Outcome.SEALED
        shop.add(cart, "cup", "pot", "cake")
    assert ranges()[3:] == [(12, 13), (14, 14), (15, 16)]
    assert {difference.position for difference in differences()} == {14}


def test_seals_of_what_was_cut_off_are_named(tmp_path: Path, owner: psycopg.Connection) -> None:
    shop = written()
    file = str(tmp_path / "head.json")
    seal_next(age_seconds=0)
    told(shop, "export", file)
    shop.add(shop.open(), "tea")
    sequencer.sequence()
    seal_next(age_seconds=0)
    assert ranges() == [(1, 6), (7, 8)]
    owner.execute(DISARM)
    owner.execute("DELETE FROM eventstore_event WHERE id IN (SELECT event_id FROM eventstore_log WHERE position > 6)")
    owner.execute("DELETE FROM eventstore_log WHERE position > 6")
    owner.execute("UPDATE eventstore_sequencer SET position = 6")
    (difference,) = differences()
    assert (difference.position, difference.actual) == (7, "seal of positions 7 to 8")
    code, text = told(shop, "check", file)
    assert code == 1
    assert "seal: expected none beyond position 6, where the log ends, found seal of positions 7 to 8" in text
    shop.add(shop.open())
    assert shop.drain()
    with pytest.raises(SealInTheWay, match="goes on from position 6 already"):
        seal_next(age_seconds=0)


def test_a_seal_in_the_way_is_told_and_stops_no_other_work(app: psycopg.Connection) -> None:
    shop = sealed()
    app.execute(PLANT_BEHIND, [99] * 3)
    shop.add(shop.open(), "tea")
    sequencer.sequence()
    with pytest.raises(SealInTheWay, match="goes on from position 11 already"):
        seal_next(age_seconds=0)
    assert not sealer.seal_quietly(age_seconds=0)
    assert shop.drain()
    assert [difference.position for difference in differences()] == [99]


def test_every_seal_beyond_the_end_is_named_however_many_there_are(
    app: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed()
    monkeypatch.setattr("eventstore.verification.seals._PAGE_SEALS", 3)
    app.execute("""
        INSERT INTO eventstore_seal (last_position, first_position, format, leaves, previous_hash, hash, sealed_at)
        SELECT n, n, 1, int8send(n), sha256(int8send(n)), sha256(int8send(n)), clock_timestamp()
        FROM generate_series(101, 106) AS n
    """)
    assert [difference.position for difference in differences()] == list(range(101, 107))


def test_who_dispatches_seals_soon() -> None:
    shop = written()

    def dispatched() -> bool:
        shop.drain()
        return ranges() == [(1, 6)]

    assert wait_until(dispatched, timeout_seconds=PATIENCE_SECONDS)


def test_who_always_has_something_to_do_seals_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    handled: list[int] = []

    def ask_for_more(recorded: RecordedEvent[facts.ItemAdded]) -> Execute | None:
        time.sleep(0.02)
        handled.append(recorded.version)
        if ranges() or len(handled) > 500:
            return None
        return Execute(aggregate=CART, stream_id=recorded.stream_id, command=facts.AddItem(sku="more"))

    monkeypatch.setattr(sealer, "seal_quietly", partial(sealer.seal_quietly, age_seconds=0))
    shop = Shop(watching(ask_for_more))
    shop.add(shop.open(), "tea")
    assert shop.drain()
    assert len(handled) < 500
    assert sealer.LOOK_SECONDS + sealer.AGE_SECONDS < 10.0


def test_who_dispatches_until_nothing_is_left_seals_everything() -> None:
    shop = written()
    call_command("dispatch", until_empty=True, store=shop.store, stdout=StringIO())
    assert ranges() == [(1, 6)]


def test_a_replay_leaves_the_seals_as_they_are() -> None:
    shop = written()
    shop.drain()
    sealer.seal_all()
    before = rows(SELECT_SEALS)
    for projection in SUBSCRIPTIONS.projections():
        rebuild(projection, store=shop.store)
    assert rows(SELECT_SEALS) == before
    assert not differences()


def test_an_erased_person_leaves_the_seals_valid() -> None:
    shop = Shop()
    cart = shop.open()
    shop.tell(cart, facts.NameRecipient(name="Alice Archer", street="Abbey Row 1"))
    sequencer.sequence()
    sealer.seal_all()
    head = heads.export()
    assert erase(cart)
    assert not differences()
    assert heads.compare(head).verdict is heads.Verdict.EXTENDS


# --- Heads ----------------------------------------------------------------------------------------------------


def sealed(items: int = 10) -> Shop:
    """A shop whose log is sealed, some entries at a time."""
    shop = written(items)
    while seal_next(age_seconds=0, most=4) is Outcome.SEALED:
        pass
    return shop


def told(shop: Shop, *arguments: str) -> tuple[int, str]:
    """The exit code of `seals` and what it printed."""
    out = StringIO()
    try:
        call_command("seals", *arguments, store=shop.store, stdout=out)
    except SystemExit as left:
        return int(left.code or 0), out.getvalue()
    except CommandError as error:
        return error.returncode, str(error)
    return 0, out.getvalue()


def test_the_list_tells_how_far_the_log_is_sealed() -> None:
    shop = sealed()
    shop.open()
    sequencer.sequence()
    code, text = told(shop)
    assert code == 0
    assert [line.split()[:2] for line in text.splitlines()[1:4]] == [["9-11", "3"], ["5-8", "4"], ["1-4", "4"]]
    assert text.splitlines()[-1].startswith("The log is sealed up to position 11; 1 entry waits, the first for ")
    newest, _ = [json.loads(line) for line in told(shop, "--json", "--limit", "2")[1].splitlines()]
    assert (newest["first_position"], newest["last_position"]) == (9, 11)
    assert newest["hash"] == heads.export().hash


def test_a_later_log_extends_what_was_exported(tmp_path: Path) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    assert told(shop, "export", file)[0] == 0
    assert json.loads(told(shop, "export")[1])["position"] == json.loads(Path(file).read_text())["position"] == 11
    shop.add(shop.open(), "tea")
    sequencer.sequence()
    sealer.seal_all()
    code, text = told(shop, "check", file)
    assert code == 0
    assert "extends what was exported" in text
    assert json.loads(told(shop, "check", file, "--json")[1])["verdict"] == "extends"


def test_a_log_that_was_empty_when_it_was_exported_may_have_grown(tmp_path: Path) -> None:
    file = str(tmp_path / "head.json")
    told(Shop(), "export", file)
    assert told(sealed(), "check", file)[0] == 0


def test_an_altered_event_is_named_though_the_seals_go_on(tmp_path: Path, owner: psycopg.Connection) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    owner.execute(DISARM)
    owner.execute('UPDATE eventstore_event SET metadata = metadata || \'{"actor": "mallory"}\' WHERE version = 6')
    code, text = told(shop, "check", file)
    assert code == 1
    assert "version 6, position 6: sealed entry: expected " in text


def test_a_log_that_could_not_be_hashed_to_its_end_is_not_told_to_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)

    def fall(*_: object) -> None:
        raise ZeroDivisionError("a test")

    monkeypatch.setattr(SealsCheck, "_judge", fall)
    code, text = told(shop, "check", file)
    assert code == 2
    assert text.startswith("Not compared: what was left when this check could not go on: ZeroDivisionError: a test (")
    assert "\n" not in text


def test_seals_that_were_rewritten_consistently_are_found_against_a_head(
    tmp_path: Path, superuser: psycopg.Connection
) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    superuser.execute("SET session_replication_role = replica")
    superuser.execute(DISARM)
    superuser.execute("UPDATE eventstore_event SET metadata = '{}' WHERE version = 6")
    superuser.execute("DELETE FROM eventstore_seal WHERE last_position >= 6")
    while seal_next(age_seconds=0, most=4) is Outcome.SEALED:
        pass
    assert ranges() == [(1, 4), (5, 8), (9, 11)]
    assert not differences(), "what is consistent in itself is found by nothing but a head"
    code, text = told(shop, "check", file)
    assert code == 1
    assert text.startswith("The log was altered at position 11 or before")


@pytest.mark.parametrize(("most", "code"), [(20, 1), (4, 1)])
def test_seals_that_end_elsewhere_are_found_against_a_head(
    tmp_path: Path, owner: psycopg.Connection, most: int, code: int
) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    owner.execute(DISARM)
    owner.execute("DELETE FROM eventstore_seal")
    shop.add(shop.open(), "tea")
    sequencer.sequence()
    while seal_next(age_seconds=0, most=most) is Outcome.SEALED:
        pass
    found, text = told(shop, "check", file)
    assert (found, "seal that ended at position 11 is gone" in text) == (code, True)


def test_a_log_that_was_truncated_is_told(tmp_path: Path, owner: psycopg.Connection) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    owner.execute(DISARM)
    owner.execute("DELETE FROM eventstore_log WHERE position > 8")
    owner.execute("DELETE FROM eventstore_seal WHERE last_position > 8")
    owner.execute("UPDATE eventstore_sequencer SET position = 8")
    code, text = told(shop, "check", file)
    assert code == 3
    assert "it ends at position 8, and was sealed up to 11 already" in text


def test_another_log_is_told(tmp_path: Path) -> None:
    shop = sealed()
    file = tmp_path / "head.json"
    told(shop, "export", str(file))
    file.write_text(json.dumps({**json.loads(file.read_text()), "log_id": str(new_id())}))
    code, text = told(shop, "check", str(file))
    assert code == 4
    assert text.startswith("This is another log: ")


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b'{"format": 2}', None],
    ids=["empty", "bytes", "list", "{}", "more", "none"],
)
def test_a_file_without_a_head_cannot_be_checked(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "head.json"
    if content is not None:
        file.write_bytes(content)
    code, text = told(sealed(), "check", str(file))
    assert code == 2
    assert str(file) in text


def test_a_head_of_another_format_cannot_be_checked(tmp_path: Path) -> None:
    shop = sealed()
    file = tmp_path / "head.json"
    file.write_text(json.dumps({**json.loads(told(shop, "export")[1]), "format": 2}))
    assert told(shop, "check", str(file))[0] == 2


@pytest.mark.parametrize(
    "damage",
    [
        {"hash": "ab" * 31},
        {"hash": "xy" * 32},
        {"hash": "ab" * 32 + "\n"},
        {"hash": "00" * 32},
        {"position": -1},
        {"position": 2**63},
        {"position": 0},
        {"sealed_at": None},
        {"sealed_at": "2020-01-01T00:00:00Z"},
        {"sealed_at": "2020-01-01T00:00:00"},
    ],
    ids=str,
)
def test_a_damaged_head_is_none(tmp_path: Path, damage: dict[str, Any]) -> None:
    shop = sealed()
    file = tmp_path / "head.json"
    file.write_text(json.dumps({**json.loads(told(shop, "export")[1]), **damage}))
    assert told(shop, "check", str(file))[0] == 2


def test_the_case_of_a_hash_does_not_matter(tmp_path: Path) -> None:
    shop = sealed()
    file = tmp_path / "head.json"
    head = json.loads(told(shop, "export")[1])
    file.write_text(json.dumps({**head, "hash": head["hash"].upper()}))
    assert told(shop, "check", str(file))[0] == 0


def test_more_differences_than_are_named_are_counted(tmp_path: Path, owner: psycopg.Connection) -> None:
    shop = sealed(items=60)
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    owner.execute(DISARM)
    owner.execute("UPDATE eventstore_event SET metadata = '{}' WHERE version % 2 = 0")
    code, text = told(shop, "check", file)
    lines = text.splitlines()
    assert (code, len(lines)) == (1, 22)
    assert lines[0] == "The log is not what its seals say: 30 differences."
    assert lines[-1] == "  - and 10 more"
    found = json.loads(told(shop, "check", file, "--json")[1])
    assert (found["verdict"], found["text"], found["total"]) == ("altered", lines[0], 30)
    assert len(found["differences"]) == 20


def test_a_connection_that_is_lost_meanwhile_leaves_it_unchecked(
    tmp_path: Path, superuser: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    compare = heads.compare

    def compare_and_lose_it(*arguments: Any, **options: Any) -> heads.Comparison:
        found = compare(*arguments, **options)
        superuser.execute("SELECT pg_terminate_backend(%s)", [connection.connection.info.backend_pid])
        return found

    monkeypatch.setattr(heads, "compare", compare_and_lose_it)
    code, text = told(shop, "check", file)
    assert code == 2
    assert text.startswith("The database does not answer: ")
    assert "\n" not in text


def test_an_option_that_it_does_not_heed_leaves_it_unchecked(tmp_path: Path) -> None:
    assert told(sealed(), "check", str(tmp_path / "head.json"), "--limit", "1")[0] == 2


def test_a_seal_of_no_time_is_listed_named_and_not_exported(tmp_path: Path, owner: psycopg.Connection) -> None:
    shop = sealed()
    file = str(tmp_path / "head.json")
    told(shop, "export", file)
    owner.execute(DISARM)
    for time_, text in (("infinity", "infinity"), ("20000-01-01Z", "20000-01-01 00:00:00+00")):
        owner.execute("UPDATE eventstore_seal SET sealed_at = %s WHERE last_position = 11", [time_])
        code, told_of = told(shop)
        assert code == 0
        assert told_of.splitlines()[1].split()[:5] == ["9-11", "3", "at", "no", "moment"]
        assert json.loads(told(shop, "--json")[1].splitlines()[0])["sealed_at"] is None
        line = f"The seal that ends at position 11 was altered: it says {text!r} for its time."
        assert told(shop, "export") == (2, line)
        code, told_of = told(shop, "check", file)
        assert code == 1
        assert "position 9: hash of the seal of positions 9 to 11: expected " in told_of


# --- The file that a head is exported to ----------------------------------------------------------------------


def test_an_export_replaces_no_file_unless_it_is_told_to(tmp_path: Path) -> None:
    shop = sealed()
    file = tmp_path / "head.json"
    file.write_text("precious")
    line = f"{file} is there already: name another file, or add --force."
    assert told(shop, "export", str(file)) == (2, line)
    assert file.read_text() == "precious"
    assert told(shop, "export", str(file), "--force")[0] == 0
    assert heads.read_head(file).position == 11
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_that_cannot_be_finished_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = sealed()
    file = tmp_path / "head.json"
    file.write_text("precious")

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert told(shop, "export", str(file), "--force") == (2, f"{file}: No space left on device.")
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]


def test_an_export_follows_a_link_and_writes_to_nothing_that_is_no_file(tmp_path: Path) -> None:
    shop = sealed()
    link, there = tmp_path / "link.json", tmp_path / "there.json"
    link.symlink_to(there)
    assert told(shop, "export", str(link))[0] == 0
    assert link.is_symlink()
    assert heads.read_head(there).position == 11
    assert told(shop, "export", str(tmp_path), "--force") == (2, f"{tmp_path} is no file.")
    nowhere = tmp_path / "none" / "head.json"
    assert told(shop, "export", str(nowhere)) == (2, f"{nowhere}: No such file or directory.")
