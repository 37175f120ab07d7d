"""What people and programs may be permitted to do with customers and accounts.

Which role has which stands in `config/staff/roles.py`. A codename never changes: it is stored. The API and the pages
of this context import this, and whoever shows what it holds.
"""

from django.db.models import TextChoices


class AccountsPermission(TextChoices):
    """The permissions of this context, each with the sentence that an administrator reads."""

    VIEW_CUSTOMERS = "accounts.view_customers", "Can see customers"
    REGISTER_CUSTOMER = "accounts.register_customer", "Can register customers"
    CHANGE_CUSTOMER = "accounts.change_customer", "Can rename customers and change how they are reached"
    VIEW_ACCOUNTS = "accounts.view_accounts", "Can see accounts and their entries"
    OPEN_ACCOUNT = "accounts.open_account", "Can open accounts"
    DEPOSIT = "accounts.deposit", "Can take cash in"
    WITHDRAW = "accounts.withdraw", "Can pay cash out"
    REVERSE_ENTRY = "accounts.reverse_entry", "Can reverse cash entries"
    FREEZE_ACCOUNT = "accounts.freeze_account", "Can freeze and unfreeze accounts"
    CLOSE_ACCOUNT = "accounts.close_account", "Can close accounts"
    PAY_OUT_CLOSED_ACCOUNT = "accounts.pay_out_closed_account", "Can pay out what closed accounts hold"
