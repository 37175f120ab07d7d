"""What the forms on the pages do, do once, and refuse."""

from __future__ import annotations

import re
from html import unescape
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.utils import timezone

from accounts.published.money import DECIMALS
from config.staff.roles import Role
from config.staff.tasks import prune
from tests.integration.counter import Counter, dispatch, dispatching, member_of, refund
from tests.integration.pages.desk import Desk, Form
from views_readmodel import queries
from views_readmodel.drafts.keeping import MOST_DRAFTS
from views_readmodel.drafts.models import TransferDraft
from views_readmodel.pages.forms.currencies import FUNDS


def test_a_teller_takes_a_customer_from_registration_to_a_transfer(teller: Desk, counter: Counter) -> None:
    savings = counter.account("100.00", title="Savings")
    with dispatching():
        registered = teller.fill_in("/customers/register", name="Bob Brown", email="bob@example.com")
        customer_page = registered.headers["Location"]
        opened = teller.fill_in(
            f"{customer_page}/open-account", title="Household", currency="EUR", initial_balance="500"
        )
        account_page = opened.headers["Location"]
        teller.fill_in(f"{account_page}/deposit", amount="1,000.50", description="Coins")
        teller.fill_in(f"{account_page}/withdraw", amount="0.5")
        number = queries.account(account_id=UUID(account_page.rpartition("/")[2])).number  # type: ignore[union-attr]
        payee = queries.account(account_id=savings)
        assert payee is not None
        form = teller.form("/transfers/new") | {"from_account": number, "to_account": payee.number, "amount": "150"}
        review = teller.send("/transfers/new", form).headers["Location"]
        assert "Is this right?" in teller.get(review).content.decode()
        sent = teller.fill_in(review)
        transfer_id = UUID(sent.headers["Location"].rpartition("/")[2])
        assert queries.wait_for_transfer(transfer_id=transfer_id, seconds=5)
    shown = teller.get(f"/transfers/{transfer_id}").content.decode()
    assert 'data-state="COMPLETED"' in shown
    assert "150.00 EUR moved from Household of Bob Brown to Savings" in shown
    assert counter.balance(UUID(account_page.rpartition("/")[2])) == "1350.00"
    assert counter.balance(savings) == "250.00"


def test_another_transfer_begins_with_the_same_payer(teller: Desk, bank: dict[str, UUID]) -> None:
    page = teller.get(f"/transfers/{bank['transfer']}").content.decode()
    (address,) = re.findall(r'href="([^"]+)">Another transfer', page)
    payer = queries.account(account_id=bank["payer"])
    assert payer is not None
    assert f'value="{payer.number}"' in teller.get(address).content.decode()


def test_a_form_that_is_sent_again_moves_nothing_twice(teller: Desk, counter: Counter) -> None:
    payer, payee = counter.account("500.00"), counter.account("100.00")
    dispatch()
    numbers = {id: queries.account(account_id=id).number for id in (payer, payee)}  # type: ignore[union-attr]
    form = teller.form("/transfers/new") | {
        "from_account": numbers[payer],
        "to_account": numbers[payee],
        "amount": "150.00",
    }
    review = teller.send("/transfers/new", form).headers["Location"]
    token = teller.form(review)
    sent = {teller.send(review, token).headers["Location"].partition("?")[0] for _ in range(3)}
    assert len(sent) == 1
    assert teller.get(review).headers["Location"] in sent  # the way back leads to the transfer
    assert teller.send("/transfers/new", form).headers["Location"] == review  # …
    assert teller.get(review).headers["Location"] in sent  # … and so does a second draft of it
    deposit = teller.form(f"/accounts/{payer}/deposit") | {"amount": "10.00"}
    for _ in range(3):
        assert teller.send(f"/accounts/{payer}/deposit", deposit).status_code == 303
    dispatch()
    assert counter.balance(payer) == "360.00"
    assert counter.balance(payee) == "250.00"


def _numbers(*accounts: UUID) -> list[str]:
    dispatch()
    return [queries.account(account_id=id).number for id in accounts]  # type: ignore[union-attr]


def test_a_draft_is_there_for_whoever_wrote_it_after_a_new_log_in(teller: Desk, counter: Counter) -> None:
    payer, payee = counter.account("500.00"), counter.account("100.00")
    numbers = _numbers(payer, payee)
    written = {"from_account": numbers[0], "to_account": numbers[1], "amount": "150.00", "description": "Rent"}
    review = teller.fill_in("/transfers/new", **written).headers["Location"]
    teller.client.post("/log-out")
    assert teller.get(review).status_code == 302
    # Somebody else signs in at the same browser, and is shown nothing of it.
    teller.client.force_login(member_of(Role.SUPERVISOR))
    assert b"Rent" not in teller.client.get(review, follow=True).content
    teller.client.force_login(teller.member)
    assert teller.fill_in(review).headers["Location"].startswith("/transfers/")
    dispatch()
    assert counter.balance(payee) == "250.00"


def test_a_draft_is_kept_for_hours_and_no_longer(teller: Desk, counter: Counter) -> None:
    numbers = _numbers(counter.account("500.00"), counter.account("100.00"))
    written = {"from_account": numbers[0], "to_account": numbers[1], "amount": "150.00"}
    review = teller.fill_in("/transfers/new", **written).headers["Location"]
    mine = TransferDraft.objects.filter(key=review.rpartition("/")[2])
    mine.update(expires_at=timezone.now())
    assert teller.get(review).headers["Location"] == "/transfers/new"
    prune()
    assert not mine.exists()


def test_a_person_s_oldest_drafts_give_way(teller: Desk, counter: Counter) -> None:
    numbers = _numbers(counter.account("500.00"), counter.account("100.00"))
    form = teller.form("/transfers/new") | {"from_account": numbers[0], "to_account": numbers[1], "amount": "1.00"}
    for _ in range(MOST_DRAFTS + 1):
        teller.send("/transfers/new", form | {"key": str(uuid4())})
    assert TransferDraft.objects.filter(principal=teller.member.actor).count() == MOST_DRAFTS


def test_what_is_sent_is_what_was_looked_at(teller: Desk, counter: Counter) -> None:
    payer, payee = counter.account("500.00"), counter.account("100.00")
    numbers = _numbers(payer, payee)
    form = teller.form("/transfers/new") | {"from_account": numbers[0], "to_account": numbers[1], "amount": "150.00"}
    review = teller.send("/transfers/new", form).headers["Location"]
    looked_at = teller.form(review)
    teller.send("/transfers/new", form | {"amount": "200.00"})  # in another tab
    answered = teller.send(review, looked_at).content.decode()
    assert "changed meanwhile, from another tab, and nothing was sent" in answered
    assert 'review-amount nowrap"><span class="total">200.00' in answered
    sent = teller.fill_in(review).headers["Location"]
    late = teller.client.post(review, looked_at, follow=True)
    assert late.redirect_chain[-1][0] == sent.partition("?")[0]
    dispatch()
    assert counter.balance(payee) == "300.00"


def test_a_transfer_that_was_sent_and_is_changed_leads_to_it_and_to_another(teller: Desk, counter: Counter) -> None:
    payer, payee = counter.account("500.00"), counter.account("100.00")
    numbers = _numbers(payer, payee)
    form = teller.form("/transfers/new") | {"from_account": numbers[0], "to_account": numbers[1], "amount": "150.00"}
    made = teller.fill_in(teller.send("/transfers/new", form).headers["Location"]).headers["Location"].partition("?")[0]
    again = teller.send("/transfers/new", form | {"amount": "200.00"}).content.decode()
    assert f'href="{made}"' in again
    assert "nothing of that is changed" in again
    fresh = Form(again, action="/transfers/new").fields
    assert fresh["key"] != form["key"]
    assert (fresh["to_account"], fresh["amount"]) == (numbers[1], "200.00")
    teller.fill_in(teller.send("/transfers/new", fresh).headers["Location"])
    dispatch()
    assert counter.balance(payee) == "450.00"


def test_a_transfer_that_was_sent_in_the_very_moment_leads_to_it_too(teller: Desk, counter: Counter) -> None:
    numbers = _numbers(counter.account("500.00"), counter.account("100.00"))
    form = teller.form("/transfers/new") | {"from_account": numbers[0], "to_account": numbers[1], "amount": "150.00"}
    review = teller.send("/transfers/new", form).headers["Location"]
    teller.fill_in(review)
    TransferDraft.objects.filter(key=form["key"]).update(transfer_id=None)  # as before it was noted
    teller.send("/transfers/new", form | {"amount": "200.00"})
    again = teller.fill_in(review).content.decode()
    assert "see the newest transfers" in again
    assert Form(again, action="/transfers/new").fields["key"] != form["key"]


def test_a_refused_form_opens_with_the_focus_in_the_first_wrong_field(teller: Desk, counter: Counter) -> None:
    (number,) = _numbers(counter.account("500.00"))

    def focused(page: str) -> list[str]:
        return re.findall(r'<input[^>]* name="([a-z_]+)"[^>]* autofocus', page)

    account = queries.accounts(search=number, limit=1)[0].account_id
    assert focused(teller.get("/transfers/new").content.decode()) == ["from_account"]
    assert focused(teller.get(f"/transfers/new?from={account}").content.decode()) == ["to_account"]
    refused = teller.fill_in("/transfers/new", from_account=number, to_account=number, amount="x").content.decode()
    assert focused(refused) == ["to_account"]
    assert "<title>Error: New transfer" in refused


def test_a_form_that_was_used_for_something_else_says_so_and_does_nothing(teller: Desk, counter: Counter) -> None:
    account = counter.account("500.00")
    dispatch()
    address = f"/accounts/{account}/deposit"
    form = teller.form(address) | {"amount": "10.00"}
    teller.send(address, form)
    again = teller.send(address, form | {"amount": "1000.00"}).content.decode()
    assert "already used for something else" in again
    assert 'value="1000.00"' in again
    dispatch()
    assert counter.balance(account) == "510.00"


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        ("12,5", "This is not an amount. Write it like 1500.00"),
        ("minus one", "This is not an amount. Write it like 1500.00"),
        ("-12.50", "never negative"),
        ("\N{MINUS SIGN}12.50", "never negative"),
        ("12.345", "EUR has 2 decimals, and this has 3"),
        ("", "Amount is missing"),
        ("0", "must be more than zero"),
        ("10000000000.00", "more than the bank moves at once, which is 9,999,999,999.99 EUR"),
        ("9" * 30, "more than the bank moves at once"),
        ("500.01", "does not hold that much"),
    ],
)
def test_a_refusal_stands_beside_the_field_and_what_was_typed_is_kept(
    amount: str, words: str, teller: Desk, counter: Counter
) -> None:
    account = counter.account("500.00")
    dispatch()
    answered = teller.fill_in(f"/accounts/{account}/withdraw", amount=amount, description="For the trip")
    page = answered.content.decode()
    field = page[page.index('for="command_amount"') : page.index('for="command_description"')]
    assert words in field
    assert 'aria-invalid="true"' in field
    assert 'value="For the trip"' in page


def test_a_supervisor_freezes_unfreezes_reverses_and_closes(supervisor: Desk, counter: Counter) -> None:
    account = counter.account("0.00")
    counter.post(f"accounts/{account}/deposits", {"amount": "20.00"})
    dispatch()
    address = f"/accounts/{account}"
    with dispatching():
        supervisor.fill_in(f"{address}/freeze", reason="Asked for by the customer")
        assert 'data-state="FROZEN"' in supervisor.get(address).content.decode()
        supervisor.fill_in(f"{address}/unfreeze", reason="Cleared up")
        supervisor.fill_in(f"{address}/entries/2/reverse", reason="Counted wrongly")
        again = supervisor.get(f"{address}/entries/2/reverse")
        assert "has been reversed already" in again.content.decode()
        supervisor.fill_in(f"{address}/close", reason="Moved away")
        assert 'data-state="CLOSED"' in supervisor.get(address).content.decode()


def test_closing_an_account_that_holds_money_is_refused_in_words(supervisor: Desk, counter: Counter) -> None:
    account = counter.account("20.00")
    dispatch()
    address = f"/accounts/{account}/close"
    sent = {"key": str(uuid4()), "reason": "Moved away"}
    for answered in (supervisor.get(address), supervisor.send(address, sent)):
        assert answered.status_code == 409
        assert "this one holds 20.00 EUR" in answered.content.decode()


def _closed_with_refund(counter: Counter, supervisor: Desk) -> UUID:
    account = counter.account("0.00")
    dispatch()
    supervisor.fill_in(f"/accounts/{account}/close", reason="Moved away")
    refund(account, amount=500)
    dispatch()
    return account


def test_paying_out_again_says_what_was_paid_out(supervisor: Desk, counter: Counter) -> None:
    account = _closed_with_refund(counter, supervisor)
    address = f"/accounts/{account}/pay-out"
    form = supervisor.form(address)
    assert form["amount"] == "5.00"
    for _ in range(2):  # the answer to the first was lost
        shown = supervisor.get(supervisor.send(address, form).headers["Location"]).content.decode()
        assert "5.00 EUR paid out." in shown
        dispatch()
    assert counter.balance(account) == "0.00"


def test_what_came_in_since_it_was_counted_out_is_not_paid_out_with_it(supervisor: Desk, counter: Counter) -> None:
    account = _closed_with_refund(counter, supervisor)
    address = f"/accounts/{account}/pay-out"
    form = supervisor.form(address)
    refund(account, amount=300)
    dispatch()
    refused = supervisor.send(address, form)
    page = refused.content.decode()
    assert refused.status_code == 200
    assert "is paid out whole, and it does not hold this amount" in page
    assert "You pay out all 8.00 EUR" in page
    assert counter.balance(account) == "8.00"
    again = Form(page, action=address).fields
    assert again["amount"] == "8.00"
    supervisor.send(address, again)
    dispatch()
    assert counter.balance(account) == "0.00"


def test_what_somebody_else_changed_of_a_customer_is_not_undone(teller: Desk, counter: Counter) -> None:
    customer = counter.customer(email="first@example.com")
    dispatch()
    address = f"/customers/{customer}/change"
    opened = teller.form(address)
    counter.patch(f"customers/{customer}", {"email": "second@example.com"})
    dispatch()
    refused = teller.send(address, opened | {"phone": "030 1"})
    assert refused.status_code == 200
    assert "Somebody else has changed this since you opened the form" in refused.content.decode()
    dispatch()
    teller.fill_in(address, phone="030 1")
    dispatch()
    found = queries.customer(customer_id=customer)
    assert found is not None
    assert (found.email, found.phone) == ("second@example.com", "030 1")


def test_an_account_is_found_by_its_number_whatever_others_are_called(teller: Desk, counter: Counter) -> None:
    payer, payee = counter.account("500.00"), counter.account("100.00")
    numbers = _numbers(payer, payee)
    for number in numbers:
        for _ in range(8):
            counter.account(title=f"Part of {number}")
    dispatch()
    review = teller.fill_in(
        "/transfers/new", from_account=f"{numbers[0][:4]} {numbers[0][4:]}", to_account=numbers[1], amount="150.00"
    )
    assert review.status_code == 303, "both are known"
    for address in (f"/find?q={numbers[1]}", f"/transfers/accounts?to_account={numbers[1]}&payer={numbers[0]}"):
        page = teller.get(address).content.decode()
        assert f"/accounts/{payee}" in page or f'data-value="{numbers[1]}"' in page, address


def test_a_new_transfer_says_what_is_wrong_with_each_account(teller: Desk, counter: Counter) -> None:
    euros, dollars = counter.account("5.00"), counter.account("5.00", currency="USD")
    dispatch()
    number = {id: queries.account(account_id=id).number for id in (euros, dollars)}  # type: ignore[union-attr]
    wrong = number[euros][:-1] + str((int(number[euros][-1]) + 1) % 10)

    def page(payer: str, payee: str) -> str:
        filled: str = teller.fill_in(
            "/transfers/new", from_account=payer, to_account=payee, amount="1.00"
        ).content.decode()
        return filled

    assert "a digit is wrong or missing" in page(wrong, number[dollars])
    assert "the paying account itself" in page(number[euros], number[euros])
    assert "in USD, the paying one in EUR" in page(number[euros], number[dollars])


def test_what_is_not_visible_yet_is_shown_as_being_posted(teller: Desk, counter: Counter) -> None:
    registered = teller.fill_in("/customers/register", name="Carol Cho")
    address = registered.headers["Location"]
    assert address.endswith("?posting=1")
    assert "Posting …" in teller.get(address).content.decode()
    dispatch()
    shown = teller.get(address).content.decode()
    assert "Carol Cho" in shown
    assert "Posting …" not in shown


def test_the_statement_of_some_days_runs_from_one_balance_to_the_other(teller: Desk, bank: dict[str, UUID]) -> None:
    page = teller.get(f"/accounts/{bank['payer']}/statement").content.decode()
    assert re.search(r'id="opening">0\.00<', page)
    assert re.search(r'id="closing"><span class="total">380\.00<', page)
    before = teller.get(f"/accounts/{bank['payer']}/statement?first=2020-01-01&last=2020-01-31").content.decode()
    assert "No money moved on these days" in before
    wrong = teller.get(f"/accounts/{bank['payer']}/statement?first=2020-02-01&last=2020-01-31").content.decode()
    assert "before the first day" in wrong


def test_a_long_statement_goes_on_from_sheet_to_sheet_and_says_so(teller: Desk, bank: dict[str, UUID]) -> None:
    address = f"/accounts/{bank['payer']}/statement"
    whole = teller.get(address).content.decode()
    assert "one sheet" not in whole
    with patch("views_readmodel.pages.accounts.MOST_LINES", 20):
        last = teller.get(address).content.decode()
        earlier = unescape(re.search(r'href="([^"]*before=[^"]*)"', last)[1])  # type: ignore[index]
        first = teller.get(earlier).content.decode()
    assert re.search(r'id="closing"><span class="total">380\.00<', last)
    forward = re.search(r'id="opening">([\d.]+)<', last)[1]  # type: ignore[index]
    assert "Brought forward" in last
    assert "Closing balance" in last
    assert f'id="closing"><span class="total">{forward}<' in first
    assert re.search(r'id="opening">0\.00<', first)
    assert "Carried forward" in first
    assert "Opening balance" in first
    assert first.count('<td class="breakable">') + last.count('<td class="breakable">') == 32
    assert teller.get(f"{address}?first=2020-01-01&last=2020-01-31&before=x").status_code == 404


def test_a_customer_s_totals_are_of_all_their_accounts_even_those_not_shown(
    teller: Desk, bank: dict[str, UUID], counter: Counter
) -> None:
    body = {"customer_id": str(bank["customer"]), "title": "Holiday", "currency": "EUR", "initial_balance": "7.00"}
    counter.post("accounts", body)
    dispatch()
    with patch("views_readmodel.pages.customers.MOST_ACCOUNTS", 1):
        page = teller.get(f"/customers/{bank['customer']}").content.decode()
    assert "the newest 1 account" in page
    assert '387.00<span class="currency">EUR' in page


def test_all_that_is_wrong_with_a_new_transfer_is_said_at_once(teller: Desk) -> None:
    page = teller.fill_in("/transfers/new", from_account="nobody", to_account="", amount="-5").content.decode()
    assert "no account number" in page
    assert "To is missing" in page
    assert "never negative" in page


@pytest.mark.parametrize(
    ("state", "of", "says", "is_offered"),
    [
        ("close", "payer", "closed for good, so nothing would move", False),
        ("freeze", "payer", "frozen, so nothing would move", False),
        ("close", "payee", "closed for good", False),
        ("freeze", "payee", "the amount will come back", True),
        ("", "payer", "does not hold that much now", True),
    ],
)
def test_the_review_warns_and_offers_to_move_only_what_can_move(
    state: str, of: str, says: str, is_offered: bool, teller: Desk, counter: Counter
) -> None:
    holds = "0.00" if of == "payer" and state != "freeze" else "5.00"
    ids = {"payer": counter.account(holds), "payee": counter.account("0.00")}
    dispatch()
    if state:
        assert Counter(Role.SUPERVISOR).post(f"accounts/{ids[of]}/{state}", {"reason": "A test"}).status_code == 200
    dispatch()
    number = {name: queries.account(account_id=id).number for name, id in ids.items()}  # type: ignore[union-attr]
    sent = teller.fill_in("/transfers/new", from_account=number["payer"], to_account=number["payee"], amount="1.00")
    page = teller.get(sent.headers["Location"]).content.decode()
    assert says in page
    assert ("Move the money" in page) is is_offered
    assert ("Nothing would move" in page) is not is_offered
    assert "Change something" in page
    assert "and then" not in page  # what would be left is told only where nothing speaks against it


def test_the_review_says_what_is_left_when_the_money_will_move(teller: Desk, counter: Counter) -> None:
    payer, payee = counter.account("20.00"), counter.account("0.00")
    dispatch()
    number = {id: queries.account(account_id=id).number for id in (payer, payee)}  # type: ignore[union-attr]
    sent = teller.fill_in("/transfers/new", from_account=number[payer], to_account=number[payee], amount="5.00")
    page = teller.get(sent.headers["Location"]).content.decode()
    assert re.search(r"<dt>and then</dt><dd>15\.00<", page)


def test_a_currency_is_found_by_code_or_name_and_no_unit_of_account_is_offered(
    teller: Desk, bank: dict[str, UUID]
) -> None:
    address = f"/customers/{bank['customer']}/open-account"
    offered = re.findall(r'<option value="([A-Z]{3})">', teller.get(address).content.decode())
    assert offered[:3] == ["EUR", "USD", "GBP"]
    assert set(offered) | FUNDS == set(DECIMALS)
    assert not FUNDS & set(offered)
    for typed, code in (("chf", "CHF"), ("Swiss franc", "CHF"), ("swiss", "CHF"), ("yen", "JPY")):
        opened = teller.fill_in(address, title="Travel", currency=typed, initial_balance="0")
        dispatch()
        account = queries.account(account_id=UUID(opened.headers["Location"].split("/")[2].partition("?")[0]))
        assert account is not None
        assert account.currency == code
    for typed in ("XAU", "CHE", "francs"):
        assert "This is no currency" in teller.fill_in(address, title="Travel", currency=typed).content.decode()
    assert "More than one currency" in teller.fill_in(address, title="Travel", currency="franc").content.decode()
