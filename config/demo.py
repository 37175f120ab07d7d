"""Demo data: a small bank with staff, customers, accounts and transfers, all made through the services.

Invariant: the same numbers and seed ask for the same names, amounts and transfers (ids and times differ). Imported by
the `load_demo` command.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final
from uuid import UUID

from accounts import services as accounts
from accounts.published.money import format_amount
from config.staff.members import create_person
from config.staff.models import StaffMember
from config.staff.roles import Role
from eventstore.context import CommandContext
from eventstore.dispatch import drain
from eventstore.ids import new_id
from eventstore.metadata import Metadata
from eventstore.models import Event
from eventstore.store import EventStore
from transfers import services as transfers

PASSWORD: Final = "daybook-demo"  # noqa: S105 - public on purpose, and only with demo data
SIGN_IN: Final = f"Log in as teller, supervisor, auditor or operator, each with the password {PASSWORD}"
PEOPLE: Final = (Role.TELLER, Role.SUPERVISOR, Role.AUDITOR, Role.OPERATOR)
GIVEN_NAMES: Final = (
    *("Alice", "Bruno", "Carmen", "Dmitri", "Elif", "Farid", "Greta", "Hiroshi", "Ines", "Jonas", "Katarzyna"),
    *("Liam", "Mariam", "Nils", "Olivia", "Pavel", "Rosa", "Samuel", "Tuva", "Uma", "Viktor", "Wanda", "Yusuf"),
)
FAMILY_NAMES: Final = (
    *("Andersen", "Brandt", "Costa", "Demir", "Eriksson", "Ferrari", "Garcia", "Haddad", "Ivanova", "Jansen"),
    *("Kowalski", "Lindqvist", "Moreau", "Novak", "Okafor", "Petrov", "Rossi", "Sato", "Tanaka", "Weber", "Zhang"),
)
# Most accounts share a currency, or hardly any two could pay each other.
CURRENCIES: Final = ("EUR", "EUR", "EUR", "USD", "JPY")
TITLES: Final = ("Current account", "Savings", "Household", "Business", "Holiday fund")
REASONS_TO_PAY: Final = ("Rent", "Invoice", "Groceries", "Concert tickets", "Repayment", "Birthday", "Deposit", "Lunch")
LOWEST_BALANCE_MINOR: Final = 20_000
HIGHEST_BALANCE_MINOR: Final = 900_000
# One transfer in so many asks for more than its account can hold, and fails.
ONE_TOO_LARGE_IN: Final = 15
FROZEN_ACCOUNTS: Final = 1
DRAIN_SECONDS: Final = 600.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How much to load."""

    customers: int
    transfers: int
    seed: int

    @property
    def steps(self) -> int:
        """How often progress is told."""
        return self.customers + self.transfers


@dataclass(frozen=True, kw_only=True)
class _Account:
    account_id: UUID
    currency: str


def bank_is_empty() -> bool:
    """Whether nothing was ever recorded."""
    return not Event.objects.exists()


def people_can_sign_in() -> bool:
    """Whether the demo's people are there, with the password that everybody knows."""
    teller = StaffMember.objects.filter(username=Role.TELLER.value, is_active=True).first()
    return teller is not None and teller.check_password(PASSWORD)


def load(asked: Asked, *, advance: Callable[[], None]) -> None:
    """Make the staff, customers with accounts, and transfers, and see the transfers through to their end."""
    random = Random(asked.seed)  # noqa: S311 - chance for a demo, not for secrets
    _make_people()
    opened: list[_Account] = []
    for number in range(asked.customers):
        opened += _make_customer(random, number)
        advance()
    _move_cash(random, opened)
    for _ in range(asked.transfers):
        _make_transfer(random, opened)
        advance()
    # Workers may be doing the same; whoever is first does it.
    drain(store=EventStore(), budget_seconds=DRAIN_SECONDS)


def _make_people() -> None:
    for role in PEOPLE:
        if not StaffMember.objects.filter(username=role.value).exists():
            create_person(name=role.value, role=role, password=PASSWORD)


def _make_customer(random: Random, number: int) -> list[_Account]:
    """One customer with one to three accounts."""
    given, family = random.choice(GIVEN_NAMES), random.choice(FAMILY_NAMES)
    registered = accounts.register_customer(
        context=_context(),
        name=f"{given} {family}",
        email=f"{given}.{family}.{number + 1}@example.com".lower(),
        phone=f"+49 30 {random.randrange(1_000_000, 9_999_999)}",
        reference=f"demo-{number + 1}",
    )
    return [_open_account(random, registered.value.customer_id) for _ in range(random.choices((1, 2, 3), (5, 3, 1))[0])]


def _open_account(random: Random, customer_id: UUID) -> _Account:
    currency = random.choice(CURRENCIES)
    opened = accounts.open_account(
        context=_context(),
        customer_id=customer_id,
        title=random.choice(TITLES),
        currency=currency,
        initial_balance=format_amount(random.randrange(LOWEST_BALANCE_MINOR, HIGHEST_BALANCE_MINOR), currency),
    )
    return _Account(account_id=opened.value.account_id, currency=currency)


def _move_cash(random: Random, opened: list[_Account]) -> None:
    """Some cash over the counter, and an account that takes no more part."""
    for account in random.sample(opened, k=len(opened) // 2):
        move = random.choice((accounts.deposit, accounts.withdraw))
        amount = format_amount(random.randrange(500, LOWEST_BALANCE_MINOR // 2), account.currency)
        move(context=_context(), account_id=account.account_id, amount=amount, description="At the counter")
    for account in random.sample(opened, k=min(FROZEN_ACCOUNTS, len(opened))):
        accounts.freeze_account(
            context=_context(role=Role.SUPERVISOR), account_id=account.account_id, reason="Card reported stolen"
        )


def _make_transfer(random: Random, opened: list[_Account]) -> None:
    """One transfer between two accounts of one currency."""
    payer = random.choice(opened)
    payees = [other for other in opened if other.currency == payer.currency and other != payer]
    if not payees:
        return
    amount_minor = random.randrange(500, LOWEST_BALANCE_MINOR)
    if random.randrange(ONE_TOO_LARGE_IN) == 0:
        amount_minor = HIGHEST_BALANCE_MINOR * 10
    transfers.create_transfer(
        context=_context(),
        from_account_id=payer.account_id,
        to_account_id=random.choice(payees).account_id,
        amount=format_amount(amount_minor, payer.currency),
        description=random.choice(REASONS_TO_PAY),
    )


def _context(*, role: Role = Role.TELLER) -> CommandContext:
    metadata = Metadata(actor=f"staff:{role.value}", correlation_id=new_id(), origin="demo")
    return CommandContext(metadata=metadata)
