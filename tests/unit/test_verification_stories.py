"""What is said of transfers and accounts that agree, and that do not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import get_args

import pytest
from msgspec.structs import replace

from accounts.published.events import AccountEvent
from eventstore.verification.findings import Difference
from tests.unit.cast import ALICES_ACCOUNT, BOBS_ACCOUNT, CAROLS_ACCOUNT, RENT
from transfers.published.events import FINAL_STATUSES, STATUS_AFTER, TransferEvent, TransferStatus
from views_readmodel.verification.stories import GIVEN_BY, LEGAL, RECORDED_BY, Answer, Done, Said, Story, judge

_RECEIVER_S = {Answer.CREDIT, Answer.REJECTED_CREDIT}
_MONEY = {Answer.DEBIT: -1, Answer.CREDIT: 1, Answer.REFUND: 1}
_SAID = Said(
    transfer_id=RENT,
    version=3,
    status=TransferStatus.COMPLETED,
    from_account_id=ALICES_ACCOUNT,
    to_account_id=BOBS_ACCOUNT,
    amount=150_00,
    currency="EUR",
    recorded={Answer.DEBIT: 2, Answer.CREDIT: 3},
)


def _done(answer: Answer, ordinal: int = 0) -> Done:
    accounts = (ALICES_ACCOUNT, BOBS_ACCOUNT)
    account_id, counterparty_id = reversed(accounts) if answer in _RECEIVER_S else accounts
    return Done(
        transfer_id=RENT,
        answer=answer,
        account_id=account_id,
        version=2 + ordinal,
        position=10 + ordinal,
        amount=150_00,
        currency="EUR",
        counterparty_account_id=counterparty_id if answer in _MONEY else None,
    )


def _story(status: TransferStatus, answers: Sequence[Answer], **changed: object) -> Story:
    said = replace(_SAID, **{"status": status, "recorded": {}, **changed})
    return Story(RENT, said, [_done(answer, ordinal) for ordinal, answer in enumerate(answers)])


def _fields(story: Story) -> list[str]:
    return [difference.field for difference in judge(story)]


@pytest.mark.parametrize("status", TransferStatus)
def test_it_accepts_for_each_status_what_is_legal_and_nothing_else(status: TransferStatus) -> None:
    every = [answers for length in range(4) for answers in permutations(Answer, length)]
    every += [(*answers, answers[-1]) for answers in every if answers]  # and the last of them twice
    accepted = {answers for answers in every if not list(judge(_story(status, answers)))}
    assert accepted == {tuple(answers) for answers in LEGAL[status]}


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_it_accepts_at_the_end_only_money_that_arrived_somewhere(status: TransferStatus) -> None:
    for answers in LEGAL[status]:
        assert sum(_MONEY.get(answer, 0) for answer in answers) == 0
        moved = {answer for answer in answers if answer in _MONEY}
        expected = {
            TransferStatus.COMPLETED: {Answer.DEBIT, Answer.CREDIT},
            TransferStatus.REFUNDED: {Answer.DEBIT, Answer.REFUND},
        }
        assert moved == expected.get(status, set())
        assert _story(status, answers).in_flight == 0


def test_it_knows_what_is_on_its_way() -> None:
    assert _story(TransferStatus.INITIAL, [Answer.DEBIT]).in_flight == 150_00
    assert _story(TransferStatus.DEBITED, [Answer.DEBIT, Answer.REJECTED_CREDIT]).in_flight == 150_00
    assert _story(TransferStatus.DEBITED, [Answer.DEBIT, Answer.CREDIT]).in_flight == 0
    assert _story(TransferStatus.INITIAL, []).in_flight == 0
    assert Story(RENT, None, [_done(Answer.DEBIT)]).in_flight == 0


def test_it_accepts_what_an_operator_answered_in_an_account_s_place() -> None:
    given_up = {"recorded": {Answer.REJECTED_DEBIT: 0}}
    assert not _fields(_story(TransferStatus.REJECTED, [], **given_up))
    assert _fields(_story(TransferStatus.REJECTED, [Answer.REJECTED_DEBIT], **given_up))
    paid_back = {"recorded": {Answer.DEBIT: 2, Answer.REJECTED_CREDIT: 0}}
    assert not _fields(_story(TransferStatus.REFUNDING, [Answer.DEBIT], **paid_back))
    assert not _fields(_story(TransferStatus.REFUNDED, [Answer.DEBIT, Answer.REFUND], **paid_back))
    assert _fields(_story(TransferStatus.REFUNDED, [Answer.DEBIT], **paid_back))


@pytest.mark.parametrize("answer", sorted(set(Answer) - {Answer.REJECTED_DEBIT, Answer.REJECTED_CREDIT}))
def test_it_takes_nobody_s_word_for_what_an_account_alone_can_do(answer: Answer) -> None:
    for status, legal in LEGAL.items():
        for answers in legal:
            if answer in answers:
                left = [done for done in answers if done is not answer]
                field = f"account events of a transfer that is {status.value}"
                assert (field in _fields(_story(status, left, recorded={answer: 0}))) is (tuple(left) not in legal)


def test_it_names_what_an_account_did_for_no_transfer() -> None:
    (difference,) = judge(Story(RENT, None, [_done(Answer.DEBIT)]))
    assert difference == Difference(
        stream=f"account/{ALICES_ACCOUNT}",
        version=2,
        position=10,
        field="transfer_id",
        expected="a transfer that exists",
        actual=str(RENT),
    )


def test_it_says_nothing_of_a_transfer_that_cannot_be_read() -> None:
    assert not list(judge(Story(RENT, replace(_SAID, status=None), [_done(Answer.CREDIT)])))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"account_id": CAROLS_ACCOUNT}, "account of the credit"),
        ({"counterparty_account_id": CAROLS_ACCOUNT}, "counterparty_account_id"),
        ({"amount": 1}, "amount"),
        ({"currency": "USD"}, "currency"),
        ({"version": 9}, "account_version of the credit"),
    ],
)
def test_it_names_each_contradiction(changed: dict[str, object], field: str) -> None:
    credit = _done(Answer.CREDIT, 1)
    assert not _fields(Story(RENT, _SAID, [_done(Answer.DEBIT), credit]))
    assert _fields(Story(RENT, _SAID, [_done(Answer.DEBIT), replace(credit, **changed)])) == [field]


def test_it_allows_another_currency_in_a_refusal() -> None:
    refusal = replace(_done(Answer.REJECTED_CREDIT, 1), currency="USD")
    assert not _fields(Story(RENT, _story(TransferStatus.DEBITED, []).said, [_done(Answer.DEBIT), refusal]))


def test_it_knows_every_status_and_every_event_of_a_transfer() -> None:
    assert set(LEGAL) == set(TransferStatus)
    assert set(RECORDED_BY) == {cls for cls in STATUS_AFTER if "account_version" in cls.__struct_fields__}
    assert set(STATUS_AFTER) == set(get_args(TransferEvent))
    assert set(GIVEN_BY) == {cls for cls in get_args(AccountEvent) if "transfer_id" in cls.__struct_fields__}
    assert set(GIVEN_BY.values()) == set(RECORDED_BY.values()) == set(Answer)
