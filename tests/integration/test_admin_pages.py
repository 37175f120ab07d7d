"""What the admin shows, to whom, and what a page costs."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db import connection
from knox.models import AuthToken

from config.staff.admin import mark_of
from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore import inspection, sealing
from eventstore.models import Event, LogEntry, Operation, ParkedKey, Seal, Snapshot, SubjectKey
from tests.conftest import Database
from tests.integration.admins import EVENTS, an_event, browser, fill_store, role_named, statements, stream_page
from tests.integration.counter import PASSWORD
from tests.integration.history import History

MOST_QUERIES: Final = 12
OPERATIONS: Final = "/admin/eventstore/operation/"

# A new version that this program does not know, as an old program beside a new one sees it.
INSERT_UNKNOWN: Final = """
INSERT INTO eventstore_event
    (event_id, stream_type, stream_id, version, event_type, schema_version, data, metadata, recorded_at)
VALUES (gen_random_uuid(), %s, %s, 1, 'NobodyKnowsThis', 1, '{"a": 1}', '{"actor": "system:old"}', clock_timestamp())
"""


@pytest.fixture
def history(fresh_database: Database) -> History:
    """A small bank, and a row in every table."""
    return fill_store()


def _pages() -> dict[str, str]:
    debited, customer = an_event("AccountDebited"), an_event("CustomerRegistered")
    snapshot = Snapshot.objects.get(state_version=77)
    return {
        "first page": "/admin/",
        "application": "/admin/eventstore/",
        "events": EVENTS,
        "events of a stream": f"{EVENTS}?id={debited.stream_id}&since=2020-01-01T00:00&until=2100-01-01T00:00",
        "event": f"{EVENTS}{debited.pk}/change/",
        "stream": stream_page("account", debited.stream_id, 2),
        "customer": stream_page("customer", customer.stream_id),
        "story": f"{EVENTS}story/{debited.metadata['correlation_id']}/",
        "subscriptions": "/admin/eventstore/checkpoint/",
        "pause": "/admin/eventstore/checkpoint/pause/accounts.saga/",
        "parked": "/admin/eventstore/parkedkey/",
        "parked key": f"/admin/eventstore/parkedkey/{ParkedKey.objects.get().pk}/change/",
        "operations": "/admin/eventstore/operation/",
        "operations of somebody": f"{OPERATIONS}?actor=staff:olga&action=pause&to=a.saga&key={debited.stream_id}",
        "operation": f"/admin/eventstore/operation/{Operation.objects.order_by('pk')[0].pk}/change/",
        "snapshots": "/admin/eventstore/snapshot/",
        "snapshot": f"/admin/eventstore/snapshot/{snapshot.pk}/change/",
        "seals": "/admin/eventstore/seal/",
        "seal": f"/admin/eventstore/seal/{Seal.objects.get().pk}/change/",
        "requests": "/admin/eventstore/idempotencyrecord/?principal=staff:carol",
        "keys": "/admin/eventstore/subjectkey/",
        "key": f"/admin/eventstore/subjectkey/{SubjectKey.objects.order_by('pk')[0].pk}/change/",
        "backlog": "/admin/eventstore/outboxentry/",
        "log": "/admin/eventstore/sequencer/",
        "head": "/admin/eventstore/sequencer/1/change/",
        "staff": "/admin/staff/staffmember/",
        "member": f"/admin/staff/staffmember/{StaffMember.objects.order_by('pk')[0].pk}/change/",
        "new member": "/admin/staff/staffmember/add/",
        "roles": "/admin/auth/group/",
        "role": f"/admin/auth/group/{role_named('operator').pk}/change/",
        "tokens": "/admin/knox/authtoken/",
    }


@pytest.fixture
def _subscribed(history: History) -> None:
    """Every subscription has its checkpoints, as after a worker's first look."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO eventstore_checkpoint (subscription, follows, bucket_low, bucket_high, position)"
            " VALUES ('accounts.saga', 'route', 0, 255, 0) ON CONFLICT DO NOTHING"
        )


def _visible(page: Any) -> str:
    """The text of a page without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.content.decode()))


@pytest.mark.usefixtures("_subscribed")
def test_each_page_takes_few_queries_and_counts_no_events() -> None:
    operator = browser(Role.OPERATOR)
    for name, address in _pages().items():
        asked = statements(operator, address)
        assert len(asked) <= MOST_QUERIES, f"{name}: {len(asked)}\n" + "\n".join(asked)
        costly = [one for one in asked if "OFFSET" in one or re.search(r'COUNT\(\*\).*"eventstore_event"', one)]
        assert costly == [], name


@pytest.mark.usefixtures("_subscribed")
def test_no_page_has_a_script_or_a_style_of_its_own() -> None:
    operator = browser(Role.OPERATOR)
    for name, address in _pages().items():
        page = operator.get(address)
        text = page.content.decode()
        assert "unsafe-inline" not in page.headers["Content-Security-Policy"]
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text), name
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), name


@pytest.mark.usefixtures("_subscribed")
@pytest.mark.parametrize("role", [Role.TELLER, Role.SUPERVISOR, Role.SERVICE])
def test_a_teller_a_supervisor_and_a_program_have_no_admin_even_with_the_flag(role: Role) -> None:
    for flagged in (False, True):
        client = browser(role, is_staff=flagged)
        for name, address in _pages().items():
            answered = client.get(address, follow=True)
            assert answered.status_code == 403, name


@pytest.mark.usefixtures("_subscribed")
def test_an_auditor_sees_events_seals_and_the_audit_and_nothing_to_do() -> None:
    auditor = browser(Role.AUDITOR)
    seen = {name for name, address in _pages().items() if auditor.get(address).status_code == 200}
    assert seen == {
        *("first page", "application", "events", "events of a stream", "event", "stream", "customer", "story"),
        *("operations", "operations of somebody", "operation", "seals", "seal"),
    }


def test_nothing_leads_to_what_the_admin_leaves_out_of_djangos_own() -> None:
    for model, model_admin in admin.site._registry.items():
        assert not model_admin.autocomplete_fields, "it would ask autocomplete/"
        assert not hasattr(model, "get_absolute_url"), "its page would lead to r/"


def test_it_asks_who_comes_in_at_the_pages_own_log_in(history: History) -> None:
    visitor = browser(None)
    answered = visitor.get(EVENTS, follow=True)
    assert answered.redirect_chain[-1][0] == f"/log-in?next={EVENTS}"
    person = browser(Role.OPERATOR)
    assert person.get(f"/admin/login/?next={EVENTS}").headers["Location"] == EVENTS
    assert person.get("/admin/login/?next=https://evil.example/").headers["Location"] == "/admin/"
    assert visitor.get("/admin").headers["Location"] == "/admin/"


def test_it_finds_events_by_whatever_is_known_of_them(history: History) -> None:
    operator = browser(Role.OPERATOR)
    event = an_event("AccountDebited")
    correlation = event.metadata["correlation_id"]
    for search, expected in {
        f"id={event.stream_id}": Event.objects.filter(stream_id=event.stream_id).count(),
        f"id={event.event_id}": 1,
        f"id={correlation}": sum(found.metadata["correlation_id"] == correlation for found in Event.objects.all()),
        "type=AccountFrozen": Event.objects.filter(event_type="AccountFrozen").count(),
        f"actor={event.metadata['actor']}&type=AccountDebited": Event.objects.filter(
            event_type="AccountDebited"
        ).count(),
        "actor=staff:nobody": 0,
        f"id={event.stream_id}&first=on": 1,
    }.items():
        page = operator.get(f"{EVENTS}?{search}")
        shown = page.context["cl"].result_list
        assert len(shown) == min(expected, 50), search
        assert expected or "Nothing found" in _visible(page)


def test_it_finds_events_by_time_to_the_second(history: History) -> None:
    operator = browser(Role.OPERATOR)
    zone = {"zone": "UTC"}
    operator.cookies.load(zone)
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO eventstore_event (event_id, stream_type, stream_id, version, event_type, schema_version, data,"
            " metadata, recorded_at) SELECT gen_random_uuid(), 'cart', gen_random_uuid(), 1, 'Later', 1, '{}', '{}',"
            " %s + n * interval '10 seconds' FROM generate_series(0, 999) AS n",
            [begin],
        )
    for since, until in ((0, 50), (100, 130), (9_000, 9_990), (9_985, 20_000), (-500, 5), (77, 78)):
        ends = [(begin + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S") for seconds in (since, until)]
        page = operator.get(f"{EVENTS}?type=Later&since={ends[0]}&until={ends[1]}")
        expected = [n for n in range(1000) if since <= n * 10 < until]
        shown = [(event.recorded_at - begin).total_seconds() / 10 for event in page.context["cl"].result_list]
        assert shown == sorted(expected, reverse=True)[:50], (since, until)


def test_a_wrong_search_is_told_beside_its_field(history: History) -> None:
    page = browser(Role.OPERATOR).get(f"{EVENTS}?id=12&since=yesterday")
    assert page.status_code == 200
    assert "32 hexadecimal digits" in _visible(page)
    assert page.context["cl"].result_list == []
    assert "Nothing was searched for: mend what is marked above" in _visible(page)
    assert "Nothing found" not in _visible(page)


def _rows(page: Any) -> list[str]:
    """The rows of a list, as text."""
    found = re.findall(r"<tr>(.*?)</tr>", page.content.decode().partition("<tbody>")[2], re.DOTALL)
    return [re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", row)).strip() for row in found]


def _operated(history: History) -> tuple[UUID, int]:
    """One of each operation; the account and the position that they name."""
    account = history.accounts[0]
    event = Event.objects.filter(stream_id=account, version=2).get()
    position = LogEntry.objects.get(event_id=event.pk).position
    why = {"reason": "because"}
    for subscription, action, detail in (
        ("accounts.saga", "discard", {"key": str(account), "position": position, "os_user": "root", **why}),
        ("views.accounts", "split", {"from": 1, "into": 4, "position": position, **why}),
        ("views.accounts", "resume", {"checkpoints": 4, **why}),
        ("", "unseal", {"action": "show", "what": f"account/{account}", "key": str(account)}),
        ("", "unseal", {"action": "trace", "what": str(event.metadata["correlation_id"])}),
        ("", "unseal", {"action": "tail", "what": ""}),
        ("", "change member", {"member": "staff:bob", "changed": ["groups", "email"], "roles": ["auditor"]}),
        ("", "change member", {"member": "staff:bob", "changed": ["is_active"], "active": False}),
    ):
        Operation.objects.create(actor="staff:otto", action=action, subscription=subscription, detail=detail)
    return account, position


def test_an_operation_says_what_was_done_to_what_and_leads_there(history: History) -> None:
    account, position = _operated(history)
    event = LogEntry.objects.get(position=position).event
    page = browser(Role.AUDITOR).get(f"{OPERATIONS}?actor=staff:otto")
    told = _rows(page)[::-1]
    for row, expected in zip(
        told,
        (
            f"staff:otto by os:root discard accounts.saga account {account} at position {position} because",
            f"staff:otto split views.accounts 1 range → 4 ranges at position {position} because",
            "staff:otto resume views.accounts 4 ranges because",
            f"staff:otto unseal personal fields account {account} ",
            f"staff:otto unseal personal fields story {event.metadata['correlation_id']} ",
            "staff:otto unseal personal fields the end of the log ",
            "staff:otto change member staff:bob changed: groups, email roles: auditor ",
            "staff:otto change member staff:bob active: no changed: is_active ",
        ),
        strict=True,
    ):
        assert expected in f"{row} ", row
    text = page.content.decode()
    for operation in Operation.objects.filter(actor="staff:otto"):
        assert f'href="{OPERATIONS}{operation.pk}/change/' in text
    assert f'href="{stream_page("account", account)}"' in text
    assert f'href="{EVENTS}story/{event.metadata["correlation_id"]}/"' in text
    led = browser(Role.AUDITOR).get(f"{EVENTS}position/{position}/")
    assert led.headers["Location"] == f"{EVENTS}{event.pk}/change/"
    assert browser(Role.AUDITOR).get(f"{EVENTS}position/{10**40}/").status_code == 404
    one = Operation.objects.get(action="discard")
    assert f"account {account}" in _visible(browser(Role.AUDITOR).get(f"{OPERATIONS}{one.pk}/change/"))


def test_operations_are_found_by_who_what_to_whom_and_key(history: History) -> None:
    account, _ = _operated(history)
    auditor = browser(Role.AUDITOR)
    for search, actions in {
        "actor=staff:otto": 8,
        "actor=staff:nobody": 0,
        "action=unseal": 3,
        "action=unseal&actor=staff:olga": 0,
        "to=views.accounts": 2,
        "to=staff:bob": 2,
        f"key={account}": 2,
        f"key={account}&action=discard": 1,
        "key=nonsense": 0,
    }.items():
        page = auditor.get(f"{OPERATIONS}?{search}")
        assert len(page.context["cl"].result_list) == actions, search
    assert "Nothing was searched for" in _visible(page)
    listed = auditor.get(OPERATIONS).content.decode()
    for offered in ("change member", "discard", "pause", "resume", "split", "unseal", "views.accounts"):
        assert f'<option value="{offered}">' in listed


def test_operations_are_paged_there_and_back_within_a_search(history: History) -> None:
    for _ in range(60):
        Operation.objects.create(actor="staff:otto", action="retry", subscription="a.saga", detail={"reason": "x"})
    auditor = browser(Role.AUDITOR)
    first = auditor.get(f"{OPERATIONS}?actor=staff:otto").context["cl"]
    second = auditor.get(OPERATIONS + first.older).context["cl"]
    assert (len(first.result_list), len(second.result_list), second.older) == (50, 10, None)
    assert {row.actor for row in second.result_list} == {"staff:otto"}
    back = auditor.get(OPERATIONS + second.newer).context["cl"]
    assert [row.pk for row in back.result_list] == [row.pk for row in first.result_list]


def test_the_first_page_shows_what_the_person_did_last_and_nobody_elses(history: History) -> None:
    operator = browser(Role.OPERATOR)
    me = StaffMember.objects.get(pk=operator.session["_auth_user_id"]).actor
    assert "Nothing that is recorded yet" in _visible(operator.get("/admin/"))
    for number in range(12):
        detail = {"reason": "x"}
        Operation.objects.create(actor=me, action="pause", subscription=f"s{number}.saga", detail=detail)
    page = operator.get("/admin/")
    assert "None available" not in _visible(page)
    shown = re.findall(r"pause (\S+\.saga)</a>", page.content.decode())
    assert shown == [f"s{number}.saga" for number in range(11, 1, -1)]
    newest = Operation.objects.order_by("-pk")[0]
    assert f'href="{OPERATIONS}{newest.pk}/change/"' in page.content.decode()


def test_every_page_names_the_zone_of_its_times_and_writes_them_in_one_way(history: History) -> None:
    operator = browser(Role.OPERATOR)
    operator.cookies.load({"zone": "Asia/Tokyo"})
    member = StaffMember.objects.get(username__startswith="billing")
    token = {"action": "revoke_selected", "_selected_action": mark_of(AuthToken.objects.get(user=member))}
    operator.post("/admin/knox/authtoken/", {**token, "confirmed": "yes", "reason": "lost"})
    history_page = f"/admin/staff/staffmember/{member.pk}/history/"
    for name, address in {**_pages(), "history": history_page}.items():
        text = _visible(operator.get(address, follow=True))
        assert "Times in Asia/Tokyo" in text, name
        assert not re.search(r"\b[ap]\.m\.|midnight|noon", text), name
    assert re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} .* lost", _visible(operator.get(history_page)))


def test_a_list_that_can_scroll_can_be_reached_by_keyboard(history: History) -> None:
    operator = browser(Role.OPERATOR)
    for name in ("operations", "seals", "log", "staff", "roles", "tokens", "backlog"):
        text = operator.get(_pages()[name]).content.decode()
        assert re.search(r'<div class="results" tabindex="0" role="region" aria-label="[^"]+"', text), name


def test_a_list_without_rows_offers_nothing_to_do_with_them(history: History) -> None:
    operator = browser(Role.OPERATOR)
    tokens = "/admin/knox/authtoken/"
    assert "Revoke …" in operator.get(tokens).content.decode()
    AuthToken.objects.all().delete()
    page = operator.get(tokens)
    assert "Revoke …" not in page.content.decode()
    assert "Nobody has a key or is signed in by API." in _visible(page)


def test_what_is_counted_has_separators_and_positions_have_none(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    much = inspection.Parked("accounts.saga", 1_234, datetime.now(UTC), 40_609, 1.0)
    monkeypatch.setattr(inspection, "count_parked", lambda **_: {"accounts.saga": much})
    state = inspection.LogState(position=40_609, heartbeat_seconds=1.0, unsequenced=2_000)
    monkeypatch.setattr(inspection, "log_state", lambda **_: state)
    operator = browser(Role.OPERATOR)
    assert "1,234 keys, 40,609 events behind them" in _visible(operator.get("/admin/eventstore/parkedkey/"))
    subscriptions = _visible(operator.get("/admin/eventstore/checkpoint/"))
    assert "ends at position 40609" in subscriptions
    assert "2,000 events" in subscriptions


def test_a_role_is_shown_under_its_name(history: History) -> None:
    page = browser(Role.OPERATOR).get(f"/admin/auth/group/{role_named('auditor').pk}/change/")
    assert "<h1>The role auditor</h1>" in page.content.decode()


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.AUDITOR])
def test_what_is_not_there_or_not_permitted_is_said_within_the_admin(history: History, role: Role) -> None:
    client = browser(role)
    chosen = {"action": "retry_selected", "_selected_action": "\x00"}
    answers = {
        404: client.get(f"{EVENTS}{10**9}/change/"),
        403: client.post(f"{EVENTS}story/{UUID(int=1)}/"),
    }
    if role is Role.OPERATOR:
        answers[400] = client.post("/admin/eventstore/parkedkey/", chosen)
    for status, answered in answers.items():
        _is_within_the_admin(answered, status)


def _is_within_the_admin(answered: Any, status: int) -> None:
    text = answered.content.decode()
    assert answered.status_code == status
    assert 'href="/admin/">Back to the admin</a>' in text
    assert 'id="user-tools"' in text
    assert "Times in" in text
    assert "To Today" not in text


def test_a_form_of_the_admin_without_a_token_does_nothing_and_says_so_within_the_admin(history: History) -> None:
    strict = browser(Role.OPERATOR)
    strict.handler.enforce_csrf_checks = True
    answered = strict.post("/admin/eventstore/checkpoint/pause/accounts.saga/", {"reason": "To look"})
    _is_within_the_admin(answered, 403)
    assert "The form has expired" in answered.content.decode()
    assert not Operation.objects.filter(detail__reason="To look").exists()
    for other in (browser(Role.TELLER), browser(None)):
        other.handler.enforce_csrf_checks = True
        page = other.post("/admin/eventstore/checkpoint/", {}).content.decode()
        assert "The form has expired" in page
        assert "To Today" in page
        assert "Back to the admin" not in page


def test_who_may_not_see_the_admin_gets_the_plain_page(history: History) -> None:
    for client in (browser(Role.TELLER), browser(Role.SUPERVISOR)):
        answered = client.get(EVENTS, follow=True)
        assert answered.status_code == 403
        assert "To Today" in answered.content.decode()
        assert "Back to the admin" not in answered.content.decode()
    assert "To Today" in browser(Role.OPERATOR).get("/nowhere").content.decode()


def test_it_leads_through_all_events_and_back_once_each(history: History) -> None:
    operator = browser(Role.OPERATOR)
    with connection.cursor() as cursor:
        for _ in range(180):
            cursor.execute(INSERT_UNKNOWN, ["other", str(UUID(int=_ + 1))])
    seen, address, back = [], EVENTS, ""
    while address:
        listed = operator.get(address).context["cl"]
        seen += [event.pk for event in listed.result_list]
        back, address = listed.newer or back, EVENTS + listed.older if listed.older else ""
    assert seen == list(Event.objects.order_by("-id").values_list("pk", flat=True))
    listed = operator.get(EVENTS + back).context["cl"]
    last_page = seen[len(seen) - len(seen) % 50 :]
    assert [event.pk for event in listed.result_list] == seen[seen.index(last_page[0]) - 50 : seen.index(last_page[0])]


def test_a_stream_shows_the_state_after_each_version_as_the_domain_folds_it(history: History) -> None:
    operator = browser(Role.OPERATOR)
    account = history.accounts[0]
    for event in Event.objects.filter(stream_id=account).order_by("version"):
        page = operator.get(stream_page("account", account, event.version))
        state = {field.name: field for field in page.context["state"]}
        if "balance" in event.data:
            assert state["balance"].value == event.data["balance"]
        assert page.context["no_state"] == ""
    last = operator.get(stream_page("account", account))
    assert last.context["version"] == history.versions[account]
    assert operator.get(stream_page("account", account, 10**6)).context["version"] == history.versions[account]
    assert operator.get(stream_page("customer", account)).status_code == 404


def test_a_state_that_cannot_be_shown_says_why(history: History) -> None:
    operator = browser(Role.OPERATOR)
    with connection.cursor() as cursor:
        cursor.execute(INSERT_UNKNOWN, ["cart", str(UUID(int=1))])
        cursor.execute(INSERT_UNKNOWN, ["account", str(UUID(int=2))])
    assert "no aggregate" in _visible(operator.get(stream_page("cart", UUID(int=1))))
    assert "UnknownEventType" in _visible(operator.get(stream_page("account", UUID(int=2))))


def test_no_page_shows_a_personal_field_a_key_a_hash_or_an_answer(history: History) -> None:
    operator = browser(Role.OPERATOR)
    customer = an_event("CustomerRegistered")
    ciphertext = customer.data["name"]
    wrapped = bytes(SubjectKey.objects.get(subject_id=customer.stream_id).wrapped_key).decode()
    secrets = ["Alice", ciphertext, wrapped, "argon2", "pbkdf2", '"secret"', settings.EVENTSTORE["SEALING_KEYS"][0]]
    addresses = [
        *_pages().values(),
        f"{EVENTS}{customer.pk}/change/",
        f"/admin/eventstore/subjectkey/{customer.stream_id}/change/",
    ]
    for address in addresses:
        text = operator.get(address).content.decode()
        assert [secret for secret in secrets if secret in text] == [], address
    assert "[sealed]" in _visible(operator.get(f"{EVENTS}{customer.pk}/change/"))
    assert sealing.erase(customer.stream_id)
    assert "erased" in _visible(operator.get(f"/admin/eventstore/subjectkey/{customer.stream_id}/change/"))
    assert operator.get(stream_page("customer", customer.stream_id)).status_code == 200


def test_no_page_shows_what_a_token_is_stored_under(history: History) -> None:
    operator, tokens = browser(Role.OPERATOR), _pages()["tokens"]
    AuthToken.objects.create(StaffMember.objects.get(username__startswith="billing"))
    rows = list(AuthToken.objects.all())
    hidden = [part for row in rows for part in (row.digest, row.token_key)]
    listed = operator.get(tokens).content.decode()
    marks = re.findall(r'name="_selected_action" value="([^"]+)"', listed)
    assert sorted(marks) == sorted(mark_of(row) for row in rows)
    chosen = {"action": "revoke_selected", "_selected_action": [mark_of(row) for row in rows[:1]], "index": "0"}
    asked = operator.post(tokens, chosen).content.decode()
    assert "Revoke 1 token" in asked
    for page in (listed, asked, *(operator.get(address).content.decode() for address in _pages().values())):
        assert [part for part in hidden if part in page] == []
    assert re.search(r'aria-label="Select [^"]*an API key of billing-[^"]*, made 20\d\d-\d\d-\d\d \d\d:\d\d"', listed)
    sent = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', asked)) | {"reason": "lost"}
    assert operator.post(tokens, sent).status_code == 302
    assert set(AuthToken.objects.values_list("pk", flat=True)) == {row.pk for row in rows[1:]}


def test_no_list_is_narrowed_by_a_column_whose_value_is_hidden(history: History) -> None:
    operator = browser(Role.OPERATOR)
    for address in ("eventstore/idempotencyrecord", "eventstore/subjectkey", "eventstore/event", "knox/authtoken"):
        model = apps.get_model(address.replace("/", "."))
        searched: Any = admin.site.get_model_admin(model)
        for field in model._meta.concrete_fields:
            for lookup in (f"{field.name}__startswith", f"{field.name}__isnull", field.name):
                answered = operator.get(f"/admin/{address}/?{lookup}=a")
                assert answered.status_code in (302, 400) or lookup in searched.search_fields_of_form(), (
                    address,
                    lookup,
                )


def test_the_first_version_of_a_stream_had_nothing_before_it(history: History) -> None:
    operator = browser(Role.OPERATOR)
    assert "the same" not in _visible(operator.get(stream_page("account", history.accounts[0], 1)))
    assert "the same" in _visible(operator.get(stream_page("account", history.accounts[0], 2)))


def test_an_event_leads_to_its_cause_and_its_effects(history: History) -> None:
    operator = browser(Role.OPERATOR)
    cause = an_event("AccountDebited")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO eventstore_event (event_id, stream_type, stream_id, version, event_type, schema_version, data,"
            " metadata, recorded_at) VALUES (gen_random_uuid(), 'cart', gen_random_uuid(), 1, 'CameOfIt', 1, '{}',"
            " jsonb_build_object('correlation_id', %s::text, 'causation_id', %s::text), clock_timestamp())",
            [cause.metadata["correlation_id"], str(cause.event_id)],
        )
    effect = an_event("CameOfIt")
    assert [found.pk for found in operator.get(f"{EVENTS}{cause.pk}/change/").context["effects"]] == [effect.pk]
    assert operator.get(f"{EVENTS}{effect.pk}/change/").context["cause"] == cause
    branches = operator.get(f"{EVENTS}story/{cause.metadata['correlation_id']}/").context["branches"]
    depths = {branch.event.pk: branch.depth for branch in branches}
    assert depths[effect.pk] == depths[cause.pk] + 1
    places = [branch.event.pk for branch in branches]
    assert places.index(effect.pk) == places.index(cause.pk) + 1


def test_an_operator_makes_a_person_with_a_role_who_may_then_sign_in(history: History) -> None:
    operator = browser(Role.OPERATOR)
    form = {"username": "alice", "password1": PASSWORD, "password2": PASSWORD, "groups": [role_named("auditor").pk]}
    assert operator.post("/admin/staff/staffmember/add/", form).status_code == 302
    alice = StaffMember.objects.get(username="alice")
    assert (alice.is_staff, alice.is_superuser, alice.actor) == (True, False, "staff:alice")
    signed_in = browser(None).post("/log-in", {"username": "alice", "password": PASSWORD})
    assert signed_in.status_code == 303
    address = f"/admin/staff/staffmember/{alice.pk}/change/"
    operator.post(
        address, {"is_active": "on", "groups": [role_named("teller").pk], "username": "x", "is_superuser": "on"}
    )
    alice.refresh_from_db()
    assert (alice.username, alice.is_staff, alice.is_superuser) == ("alice", False, False)


def test_nobody_gives_themselves_a_role_and_only_a_superuser_changes_a_superuser(history: History) -> None:
    operator = browser(Role.OPERATOR)
    me = StaffMember.objects.get(pk=operator.session["_auth_user_id"])
    operator.post(
        f"/admin/staff/staffmember/{me.pk}/change/", {"groups": [role_named("teller").pk], "first_name": "Olga"}
    )
    me.refresh_from_db()
    assert (me.first_name, [group.name for group in me.groups.all()]) == ("Olga", ["operator"])
    root = StaffMember.objects.create(username="root", is_superuser=True)
    for address in (f"/admin/staff/staffmember/{root.pk}/change/", f"/admin/staff/staffmember/{root.pk}/password/"):
        sent = {"password1": PASSWORD, "password2": PASSWORD, "usable_password": "true"}
        assert operator.post(address, sent).status_code == 403
    program = StaffMember.objects.get(is_service=True)
    assert operator.get(f"/admin/staff/staffmember/{program.pk}/password/").status_code == 403
