"""Who is answered what, at every address, for every method. What is not in here, `test_access` does not let pass.

Columns: teller, supervisor, auditor, operator, service (a program, with its key), and whoever is nobody: not signed in,
or let go. `GET` stands for `HEAD` too, `*` for every method that has no row of its own. Methods without a row are
answered with 405, by the API to nobody with 401. In the admin everybody but auditors and operators is sent to the
log-in, whatever they ask.
"""

from __future__ import annotations

from typing import Final

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
COLUMNS: Final = ("teller", "supervisor", "auditor", "operator", "service", "nobody")

PAGES: Final = """
                                                           tell sup  aud  oper serv nobody
/                                                  GET     200  200  200  200  302  302
accounts                                           GET     200  200  200  403  302  302
accounts/<account_id>                              GET     200  200  200  403  302  302
accounts/<account_id>/close                        GET     403  409  403  403  302  302
accounts/<account_id>/close                        POST    403  303  403  403  302  302
accounts/<account_id>/deposit                      GET     200  200  403  403  302  302
accounts/<account_id>/deposit                      POST    303  303  403  403  302  302
accounts/<account_id>/entries/<version>/reverse    GET     403  200  403  403  302  302
accounts/<account_id>/entries/<version>/reverse    POST    403  303  403  403  302  302
accounts/<account_id>/freeze                       GET     403  200  403  403  302  302
accounts/<account_id>/freeze                       POST    403  303  403  403  302  302
accounts/<account_id>/pay-out                      GET     403  409  403  403  302  302
accounts/<account_id>/pay-out                      POST    403  409  403  403  302  302
accounts/<account_id>/statement                    GET     200  200  200  403  302  302
accounts/<account_id>/statement.csv                GET     200  200  200  403  302  302
accounts/<account_id>/unfreeze                     GET     403  409  403  403  302  302
accounts/<account_id>/unfreeze                     POST    403  303  403  403  302  302
accounts/<account_id>/withdraw                     GET     200  200  403  403  302  302
accounts/<account_id>/withdraw                     POST    303  303  403  403  302  302
customers                                          GET     200  200  200  403  302  302
customers/<customer_id>                            GET     200  200  200  403  302  302
customers/<customer_id>/change                     GET     200  200  403  403  302  302
customers/<customer_id>/change                     POST    303  303  403  403  302  302
customers/<customer_id>/open-account               GET     200  200  403  403  302  302
customers/<customer_id>/open-account               POST    303  303  403  403  302  302
customers/register                                 GET     200  200  403  403  302  302
customers/register                                 POST    303  303  403  403  302  302
find                                               GET     200  200  200  200  302  302
live/changes                                       GET     204  204  204  204  302  302
log-in                                             GET     303  303  303  303  200  200
log-in                                             POST    303  303  303  303  200  200
log-out                                            POST    303  303  303  303  303  303
password                                           GET     200  200  200  200  302  302
password                                           POST    200  200  200  200  302  302
theme                                              POST    303  303  303  303  303  303
transfers                                          GET     200  200  200  403  302  302
transfers/<transfer_id>                            GET     200  200  200  403  302  302
transfers/accounts                                 GET     200  200  403  403  302  302
transfers/new                                      GET     200  200  403  403  302  302
transfers/new                                      POST    200  200  403  403  302  302
transfers/review/<key>                             GET     303  303  403  403  302  302
transfers/review/<key>                             POST    303  303  403  403  302  302
metrics                                            GET     403  403  403  200  403  401
health/live                                        GET     200  200  200  200  200  200
health/ready                                       GET     200  200  200  200  200  200
"""

API: Final = r"""
                                                           tell sup  aud  oper serv nobody
^api(/(?s:.*))?\Z                                 *       404  404  404  404  404  404
api/v1/auth/login                                  POST    401  401  401  401  401  401
api/v1/auth/login                                  *       405  405  405  405  405  405
api/v1/auth/logout                                 POST    204  204  204  204  403  401
api/v1/customers                                   GET     200  200  200  403  200  401
api/v1/customers                                   POST    201  201  403  403  201  401
api/v1/customers/<customer_id>                     GET     200  200  200  403  200  401
api/v1/customers/<customer_id>                     PATCH   200  200  403  403  200  401
api/v1/accounts                                    GET     200  200  200  403  200  401
api/v1/accounts                                    POST    201  201  403  403  201  401
api/v1/accounts/<account_id>                       GET     200  200  200  403  200  401
api/v1/accounts/<account_id>/entries               GET     200  200  200  403  200  401
api/v1/accounts/<account_id>/deposits              POST    201  201  403  403  201  401
api/v1/accounts/<account_id>/withdrawals           POST    201  201  403  403  201  401
api/v1/accounts/<account_id>/entries/<entry_id>/reverse  POST  403  201  403  403  403  401
api/v1/accounts/<account_id>/freeze                POST    403  200  403  403  403  401
api/v1/accounts/<account_id>/unfreeze              POST    403  200  403  403  403  401
api/v1/accounts/<account_id>/close                 POST    403  200  403  403  403  401
api/v1/transfers                                   GET     200  200  200  403  200  401
api/v1/transfers                                   POST    202  202  403  403  202  401
api/v1/transfers/<transfer_id>                     GET     200  200  200  403  200  401
api/v1/schema                                      GET     200  200  200  200  200  200
api/v1/schema                                      *       405  405  405  405  405  405
api/v1/docs                                        GET     200  200  200  200  200  200
api/v1/docs                                        *       405  405  405  405  405  405
"""

# What a name in braces stands for.
SETS: Final = {
    "history": ("event", "operation", "seal"),
    "state": ("idempotencyrecord", "outboxentry", "parkedkey", "sequencer", "snapshot", "subjectkey"),
    "records": ("idempotencyrecord", "parkedkey", "sequencer", "snapshot", "subjectkey"),
}

# Auditors and operators. Adding, changing and deleting is for nobody, but staff.
ADMIN: Final = """
                                                                   aud  oper
admin/                                                     GET     200  200
admin/                                                     POST    200  200
admin/(?P<url>.*)$                                         GET     404  404
admin/(?P<url>.*)$                                         POST    404  404
admin/<app_label>/                                         GET     200  200
admin/<app_label>/                                         POST    200  200
admin/jsi18n/                                              GET     200  200
admin/logout/                                              POST    200  200
admin/auth/group/                                          GET     403  200
admin/auth/group/                                          POST    403  200
admin/auth/group/<object_id>/                              GET     302  302
admin/auth/group/<object_id>/                              POST    302  302
admin/auth/group/<object_id>/change/                       GET     403  200
admin/auth/group/<object_id>/change/                       POST    403  403
admin/auth/group/<object_id>/delete/                       GET     403  403
admin/auth/group/<object_id>/delete/                       POST    403  403
admin/auth/group/<object_id>/history/                      GET     403  200
admin/auth/group/<object_id>/history/                      POST    403  200
admin/auth/group/add/                                      GET     403  403
admin/auth/group/add/                                      POST    403  403
admin/axes/accessattempt/                                  GET     403  200
admin/axes/accessattempt/                                  POST    403  302
admin/knox/authtoken/                                      GET     403  200
admin/knox/authtoken/                                      POST    403  200
admin/staff/staffmember/                                   GET     403  200
admin/staff/staffmember/                                   POST    403  302
admin/staff/staffmember/<id>/password/                     GET     403  200
admin/staff/staffmember/<id>/password/                     POST    403  302
admin/staff/staffmember/<object_id>/                       GET     302  302
admin/staff/staffmember/<object_id>/                       POST    302  302
admin/staff/staffmember/<object_id>/change/                GET     403  200
admin/staff/staffmember/<object_id>/change/                POST    403  302
admin/staff/staffmember/<object_id>/delete/                GET     403  403
admin/staff/staffmember/<object_id>/delete/                POST    403  403
admin/staff/staffmember/<object_id>/history/               GET     403  200
admin/staff/staffmember/<object_id>/history/               POST    403  200
admin/staff/staffmember/add/                               GET     403  200
admin/staff/staffmember/add/                               POST    403  200
admin/eventstore/checkpoint/                               GET     403  200
admin/eventstore/checkpoint/                               POST    403  403
admin/eventstore/checkpoint/<deed>/<subscription>/         GET     403  200
admin/eventstore/checkpoint/<deed>/<subscription>/         POST    403  200
admin/eventstore/event/position/<position>/                GET     302  302
admin/eventstore/event/position/<position>/                POST    403  403
admin/eventstore/event/story/<correlation_id>/             GET     200  200
admin/eventstore/event/story/<correlation_id>/             POST    403  403
admin/eventstore/event/stream/<stream_type>/<stream_id>/   GET     200  200
admin/eventstore/event/stream/<stream_type>/<stream_id>/   POST    403  403
admin/eventstore/{history}/                                GET     200  200
admin/eventstore/{history}/                                POST    200  200
admin/eventstore/{history}/<object_id>/                    GET     302  302
admin/eventstore/{history}/<object_id>/                    POST    302  302
admin/eventstore/{history}/<object_id>/change/             GET     200  200
admin/eventstore/{history}/<object_id>/change/             POST    403  403
admin/eventstore/{history}/<object_id>/delete/             GET     403  403
admin/eventstore/{history}/<object_id>/delete/             POST    403  403
admin/eventstore/{history}/<object_id>/history/            GET     200  200
admin/eventstore/{history}/<object_id>/history/            POST    200  200
admin/eventstore/{history}/add/                            GET     403  403
admin/eventstore/{history}/add/                            POST    403  403
admin/eventstore/{state}/                                  GET     403  200
admin/eventstore/{state}/                                  POST    403  200
admin/eventstore/{state}/<object_id>/                      GET     302  302
admin/eventstore/{state}/<object_id>/                      POST    302  302
admin/eventstore/{records}/<object_id>/change/             GET     403  200
admin/eventstore/{records}/<object_id>/change/             POST    403  403
admin/eventstore/{records}/<object_id>/history/            GET     403  200
admin/eventstore/{records}/<object_id>/history/            POST    403  200
admin/eventstore/outboxentry/<object_id>/change/           GET     403  302
admin/eventstore/outboxentry/<object_id>/change/           POST    403  403
admin/eventstore/outboxentry/<object_id>/history/          GET     302  302
admin/eventstore/outboxentry/<object_id>/history/          POST    302  302
admin/eventstore/{state}/<object_id>/delete/               GET     403  403
admin/eventstore/{state}/<object_id>/delete/               POST    403  403
admin/eventstore/{state}/add/                              GET     403  403
admin/eventstore/{state}/add/                              POST    403  403
"""

# The ways to the admin, which lead everybody on; who is signed in and may not come in is told so.
ENTRANCE: Final = """
                                                           tell sup  aud  oper serv nobody
admin                                              *       302  302  302  302  302  302
admin/login/                                       *       403  403  302  302  302  302
"""

Table = dict[str, dict[str, tuple[int, ...]]]


def table() -> Table:
    """By route, without the kinds of its parameters, and by method: the answers, in the order of `COLUMNS`."""
    found: Table = {}
    for text in (PAGES, ENTRANCE):
        _add(found, text, rest=(405,) * 6)
    _add(found, API, rest=(*(405,) * 5, 401))
    _add(found, ADMIN, rest=(302, 302, 405, 405, 302, 302))
    return found


def _add(found: Table, text: str, *, rest: tuple[int, ...]) -> None:
    given: dict[str, dict[str, tuple[int, ...]]] = {}
    for line in text.strip().splitlines()[1:]:
        name, method, *answers = line.split()
        numbers = tuple(int(answer) for answer in answers)
        if len(numbers) == 2:  # auditor and operator, in the admin
            numbers = (302, 302, *numbers, 302, 302)
        for route in _each(name):
            assert method not in given.setdefault(route, {}), f"{method} {route} has two rows"
            given[route][method] = numbers
    for route, rows in given.items():
        found["" if route == "/" else route] = {
            method: rows.get("GET" if method == "HEAD" else method, rows.get("*", rest)) for method in METHODS
        }


def _each(name: str) -> list[str]:
    """The routes that a name with braces stands for."""
    before, opened, behind = name.partition("{")
    if not opened:
        return [name]
    inside, _, after = behind.partition("}")
    return [f"{before}{one}{after}" for one in SETS[inside]]
