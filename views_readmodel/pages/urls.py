"""The addresses of the staff pages, none with a slash at its end. Included by `config.urls`."""

from django.urls import path

from views_readmodel.pages import (
    account_actions,
    accounts,
    customers,
    finding,
    new_transfer,
    sessions,
    today,
    transfers,
)

urlpatterns = [
    path("", today.today, name="today"),
    path("log-in", sessions.log_in, name="log-in"),
    path("log-out", sessions.log_out, name="log-out"),
    path("theme", sessions.choose_theme, name="theme"),
    path("find", finding.find, name="find"),
    path("customers", customers.customers, name="customers"),
    path("customers/register", customers.register, name="register-customer"),
    path("customers/<uuid:customer_id>", customers.customer, name="customer"),
    path("customers/<uuid:customer_id>/change", customers.change, name="change-customer"),
    path("customers/<uuid:customer_id>/open-account", customers.open_account, name="open-account"),
    path("accounts", accounts.accounts, name="accounts"),
    path("accounts/<uuid:account_id>", accounts.account, name="account"),
    path("accounts/<uuid:account_id>/statement", accounts.statement, name="statement"),
    path("accounts/<uuid:account_id>/statement.csv", accounts.statement_file, name="statement-file"),
    path(
        "accounts/<uuid:account_id>/entries/<int:version>/reverse",
        account_actions.reverse_entry,
        name="reverse-entry",
    ),
    *(
        path(
            f"accounts/<uuid:account_id>/{action.name}", account_actions.view_of(action), name=f"account-{action.name}"
        )
        for action in account_actions.ACTIONS
    ),
    path("live/changes", sessions.no_stream, name="live-changes"),
    path("transfers", transfers.transfers, name="transfers"),
    path("transfers/new", new_transfer.new_transfer, name="new-transfer"),
    path("transfers/review/<uuid:key>", new_transfer.review_transfer, name="review-transfer"),
    path("transfers/accounts", new_transfer.suggest_accounts, name="suggest-accounts"),
    path("transfers/<uuid:transfer_id>", transfers.transfer, name="transfer"),
]
