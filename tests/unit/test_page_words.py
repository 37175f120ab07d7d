"""The words on the pages: every code has some, amounts are taken as people write them, a transfer tells its story."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django import forms

from accounts.published.events import AccountStatus, RejectionReason
from transfers.published.events import TransferStatus
from views_readmodel.pages import wording
from views_readmodel.pages.forms.currencies import CurrencyField, currency_of
from views_readmodel.pages.forms.fields import AmountField
from views_readmodel.pages.forms.finding import AskedAmountField, amounts_in
from views_readmodel.pages.story import story_of
from views_readmodel.pages.tags import money, movement
from views_readmodel.projections.accounts import EntryKind
from views_readmodel.projections.transfers import StepRow
from views_readmodel.queries import AccountView, TransferView

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize("state", [*AccountStatus, *TransferStatus])
def test_every_state_has_a_word_and_a_mark_of_its_own(state: str) -> None:
    assert state in wording._MARKS
    assert wording.mark_of(state).word


def test_a_state_that_is_not_known_is_shown_as_it_is() -> None:
    assert wording.mark_of("ON_HOLD").word == "ON HOLD"


@pytest.mark.parametrize("kind", list(EntryKind))
def test_every_kind_of_entry_has_a_name(kind: str) -> None:
    assert kind in wording._ENTRY_KINDS


@pytest.mark.parametrize("reason", list(RejectionReason))
def test_every_reason_has_words(reason: str) -> None:
    assert reason in wording._WHY


def test_a_reason_that_is_not_known_is_not_hidden() -> None:
    assert wording.why_refused("tax_hold") == "refused (tax hold)"


@pytest.mark.parametrize(
    ("actor", "name"), [("staff:alice", "alice"), ("service:payroll", "payroll"), ("system:accounts.saga", "Daybook")]
)
def test_an_actor_has_a_name_for_people(actor: str, name: str) -> None:
    assert wording.who(actor) == name


@pytest.mark.parametrize(
    ("amount_minor", "currency", "shown"),
    [
        (150_000, "EUR", "1,500.00"),
        (-5, "EUR", "\N{MINUS SIGN}0.05"),
        (0, "EUR", "0.00"),
        (1_234_567, "JPY", "1,234,567"),
        (1_234_567, "KWD", "1,234.567"),
    ],
)
def test_an_amount_is_shown_with_its_currency_s_decimals(amount_minor: int, currency: str, shown: str) -> None:
    assert money(amount_minor, currency) == shown


def test_a_movement_says_its_way_by_sign_and_arrow_and_carries_the_plain_amount() -> None:
    out = movement(-15_000, "EUR")
    assert "#out" in out
    assert '<data value="-150.00">\N{MINUS SIGN}150.00</data>' in out
    assert "#in" in movement(15_000, "EUR")
    assert movement(0, "EUR") == '<data value="0.00">0.00</data>'


@pytest.mark.parametrize(
    ("typed", "currency", "text"),
    [
        ("150", "EUR", "150.00"),
        ("150.5", "EUR", "150.50"),
        (" 1 500.00 ", "EUR", "1500.00"),
        ("1,500.00", "EUR", "1500.00"),
        ("1,234,500.50", "EUR", "1234500.50"),
        ("1 500", "EUR", "1500.00"),
        ("1'234'500.50", "EUR", "1234500.50"),
        ("12\N{NARROW NO-BREAK SPACE}500", "JPY", "12500"),
        ("1\N{NO-BREAK SPACE}500.5", "EUR", "1500.50"),
        ("1\N{THIN SPACE}500.500", "KWD", "1500.500"),
        ("007", "EUR", "7.00"),
        ("0.5", "EUR", "0.50"),
        ("1500", "JPY", "1500"),
        ("126,014", "JPY", "126014"),
        ("1,234,567", "JPY", "1234567"),
        ("1.5", "KWD", "1.500"),
    ],
)
def test_an_amount_is_taken_as_people_write_it(typed: str, currency: str, text: str) -> None:
    field = AmountField()
    field.currency = currency
    assert field.clean(typed) == text


@pytest.mark.parametrize(
    ("typed", "currency", "says"),
    [
        ("1,500", "EUR", "not an amount. Write it like 1500.00"),  # a thousand, or one and a half?
        ("12,50", "EUR", "not an amount"),
        ("1.500", "EUR", "EUR has 2 decimals, and this has 3"),
        ("1,50,000.00", "EUR", "not an amount"),
        ("1.5", "JPY", "JPY has no decimals, and this has 1"),
        ("1,500.0", "JPY", "JPY has no decimals, and this has 1"),
        ("12,50", "JPY", "not an amount. Write it like 1500: digits only"),
        ("1,5", "JPY", "not an amount"),
        ("1,50,000", "JPY", "not an amount"),
        ("126,014", "", "not an amount"),
        ("126,014", "KWD", "not an amount"),
        ("1.23456", "", "No currency has 5 decimals"),
        ("12 50", "EUR", "more than one number: .* groups of three digits. Write it like 1500.00"),
        ("1'5", "EUR", "more than one number"),
        ("1 2 3", "EUR", "more than one number"),
        ("1500 000", "EUR", "more than one number"),
        ("1 5000", "JPY", "more than one number: .* Write it like 1500: digits only"),
        ("1 500'000", "EUR", "more than one number"),
        ("1  500", "EUR", "more than one number"),
        ("1 500. 00", "EUR", "more than one number"),
        ("1 500 .00", "", "more than one number"),
        ("'500", "EUR", "more than one number"),
        ("1 ,500.00", "EUR", "not an amount"),
        ("1, 500.00", "EUR", "not an amount"),
        ("1 234,500.00", "EUR", "not an amount"),
        ("-1 500", "EUR", "never negative"),
        ("- 5", "EUR", "never negative"),
        ("-5", "EUR", "never negative"),
        ("\N{MINUS SIGN}5", "", "never negative"),
        ("-", "EUR", "not an amount"),
        ("5 EUR", "EUR", "not an amount"),
        ("\N{ARABIC-INDIC DIGIT FIVE}", "EUR", "not an amount"),
        ("1e3", "EUR", "not an amount"),
        ("0", "EUR", "more than zero"),
        ("0.00", "", "more than zero"),
        ("10000000000", "EUR", "at once, which is 9,999,999,999.99 EUR"),
        ("9" * 30, "", "more than the bank moves at once"),
    ],
)
def test_each_way_to_be_wrong_about_an_amount_has_its_own_words(typed: str, currency: str, says: str) -> None:
    field = AmountField()
    field.currency = currency
    with pytest.raises(forms.ValidationError, match=says):
        field.clean(typed)


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("eur", "EUR"),
        ("Swiss franc", "CHF"),
        ("swiss", "CHF"),
        ("  SWISS   fr", "CHF"),
        ("us", "USD"),
        ("won", "KRW"),  # the whole name of one, a word in another's
        ("mexican", "MXN"),
        ("franc", ""),  # of a dozen countries
        ("peso", ""),  # one name begins with it, and many end with it
        ("new", ""),
        ("z", ""),
        ("wiss", ""),
        ("", ""),
    ],
)
def test_a_currency_is_what_its_name_alone_begins_with(typed: str, code: str) -> None:
    assert currency_of(typed) == code


def test_a_name_that_several_currencies_share_says_so() -> None:
    with pytest.raises(forms.ValidationError, match="More than one currency"):
        CurrencyField().clean("dollar")
    with pytest.raises(forms.ValidationError, match="This is no currency"):
        CurrencyField().clean("doubloon")


def test_nothing_is_an_amount_where_an_account_may_be_opened_empty() -> None:
    field = AmountField(zero_allowed=True, required=False)
    field.currency = "EUR"
    assert [field.clean(typed) for typed in ("", "0", "0.0")] == ["", "0.00", "0.00"]


def _account(title: str, name: str) -> AccountView:
    return AccountView(
        account_id=uuid4(),
        number="10000018",
        title=title,
        customer_id=uuid4(),
        currency="EUR",
        balance=0,
        state="OPEN",
        reference=None,
        opened_at=NOON,
        changed_at=NOON,
        version=1,
        customer_name=name,
    )


def _transfer(state: TransferStatus, *events: str, reason: str | None = None) -> TransferView:
    transfer_id = UUID(int=1)
    steps = [
        StepRow(
            transfer_id=transfer_id,
            version=version,
            event_id=uuid4(),
            event_type=event,
            actor="staff:alice" if version == 1 else "system:transfers.saga",
            recorded_at=NOON + timedelta(seconds=version),
        )
        for version, event in enumerate(events, start=1)
    ]
    return TransferView(
        transfer_id=transfer_id,
        from_account_id=uuid4(),
        to_account_id=uuid4(),
        amount=15_000,
        currency="EUR",
        description="",
        reference=None,
        metadata={},
        state=state.value,
        failure_reason=reason,
        initiated_by="staff:alice",
        approved_by=None,
        reverses=None,
        reversed_by=None,
        created_at=NOON,
        execute_at=None,
        completed_at=None,
        from_account_version=None,
        to_account_version=None,
        correlation_id=uuid4(),
        changed_at=NOON,
        version=len(steps),
        steps=steps,
    )


CREATED, DEBITED = "MoneyTransferCreated", "DebitRecorded"


@pytest.mark.parametrize(
    ("transfer", "steps", "sentence"),
    [
        (
            _transfer(TransferStatus.INITIAL, CREATED),
            ["done Created", "now Debiting", "to-come Credited"],
            "150.00 EUR is about to leave Household of Alice.",
        ),
        (
            _transfer(TransferStatus.DEBITED, CREATED, DEBITED),
            ["done Created", "done Debited", "now Crediting"],
            "150.00 EUR has left Household of Alice and is on its way.",
        ),
        (
            _transfer(TransferStatus.COMPLETED, CREATED, DEBITED, "CreditRecorded"),
            ["done Created", "done Debited", "done Credited"],
            "150.00 EUR moved from Household of Alice to Savings of Bob.",
        ),
        (
            _transfer(TransferStatus.FAILED_DUE_TO_INSUFFICIENT_FUNDS, CREATED, "FailedDebitRecorded"),
            ["done Created", "refused Not debited"],
            "Nothing moved: Household of Alice did not hold 150.00 EUR.",
        ),
        (
            _transfer(TransferStatus.REJECTED, CREATED, "DebitRejectionRecorded", reason="account_frozen"),
            ["done Created", "refused Not debited"],
            "Nothing moved: Household of Alice is frozen.",
        ),
        (
            _transfer(TransferStatus.REFUNDING, CREATED, DEBITED, "CreditRejectionRecorded", reason="account_closed"),
            ["done Created", "done Debited", "refused Not credited", "now Refunding"],
            "Savings of Bob is closed, so the 150.00 EUR is on its way back.",
        ),
        (
            _transfer(
                TransferStatus.REFUNDED,
                CREATED,
                DEBITED,
                "CreditRejectionRecorded",
                "RefundRecorded",
                reason="account_closed",
            ),
            ["done Created", "done Debited", "refused Not credited", "done Refunded"],
            "Savings of Bob is closed, so the 150.00 EUR went back to Household of Alice.",
        ),
    ],
    ids=lambda value: value.state if isinstance(value, TransferView) else "",
)
def test_a_transfer_tells_its_story(transfer: TransferView, steps: list[str], sentence: str) -> None:
    story = story_of(transfer, payer=_account("Household", "Alice"), payee=_account("Savings", "Bob"))
    assert [f"{step.status} {step.name}" for step in story.steps] == steps
    assert story.sentence == sentence


def test_a_story_is_told_before_its_accounts_can_be_seen() -> None:
    story = story_of(_transfer(TransferStatus.INITIAL, CREATED), payer=None, payee=None)
    assert story.sentence == "150.00 EUR is about to leave the paying account."


@pytest.mark.parametrize("asked", ["150 EUR", "EUR 150", "150eur", "150.00 euro", "Euro 150.", "EUR 150.0", "0150 EUR"])
def test_an_amount_is_looked_for_with_its_currency_on_either_side(asked: str) -> None:
    assert amounts_in(asked) == {"EUR": 150_00}


@pytest.mark.parametrize("asked", ["1 500 EUR", "EUR 1'500.00", "1,500.00 EUR"])
def test_an_amount_is_looked_for_in_groups_of_three_digits(asked: str) -> None:
    assert amounts_in(asked) == {"EUR": 1_500_00}


@pytest.mark.parametrize(
    ("asked", "euros", "yen", "dinars"),
    [
        ("150", 150_00, 150, 150_000),
        ("1,500.00", 1_500_00, None, 1_500_000),
        ("1,500", None, 1_500, None),  # where there are decimals, the comma could mean them
        ("0.005", None, None, 5),
        ("9999999999.99", 9_999_999_999_99, None, None),
    ],
)
def test_an_amount_without_a_currency_is_looked_for_in_each_that_has_such(
    asked: str, euros: int | None, yen: int | None, dinars: int | None
) -> None:
    found = amounts_in(asked)
    assert (found.get("EUR"), found.get("JPY"), found.get("KWD")) == (euros, yen, dinars)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("alice", "This is not an amount. Write it like 1500.00 or 150 EUR."),
        ("EUR", "This is not an amount."),
        ("150 peso", "This is not an amount."),
        ("EUR 150 EUR", "This is not an amount."),
        ("alice 150", "This is not an amount."),
        ("12,5", "This is not an amount."),
        ("12 50 EUR", "more than one number"),
        ("1'5", "more than one number"),
        ("2026-11-28", "This is not an amount."),
        ("-150 EUR", "never negative"),
        ("\N{MINUS SIGN}150", "never negative"),
        ("0", "more than zero"),
        ("150.00 JPY", "JPY has no decimals, and this has 2."),
        ("1.23456", "No currency has 5 decimals."),
        ("999999999999.5", "more than the bank moves at once"),
        ("1" * 50, "more than the bank moves at once"),
        ("\N{ARABIC-INDIC DIGIT ONE}", "This is not an amount."),
        ("1" * 100, "at most 60 characters"),
    ],
)
def test_what_is_no_amount_finds_nothing_and_the_list_says_why(asked: str, words: str) -> None:
    if len(asked) < 100:
        assert amounts_in(asked) == {}
    with pytest.raises(forms.ValidationError, match=words):
        AskedAmountField(max_length=60).clean(asked)
