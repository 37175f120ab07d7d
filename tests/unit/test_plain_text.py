"""What is not UTF-8 is refused before anything reads it, in an address and in a form alike; and a form in parts."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from config.plain_text import plain_text_middleware

URLENCODED = "application/x-www-form-urlencoded"

BROKEN = [
    b"name=Ali%ED%A0%80ce",  # half of a character
    b"name=Ali%ffce",
    b"name=Ali%ce",  # it ends too soon
    b"name=Ali%ce&phone=1",
    b"na%ffme=Alice",
    b"name=Ali\xffce",
    b"name=Ali\xe9ce",  # Latin-1
    b"name=Ali%ce\xbb",  # one half of a letter by percent, the other as it is
    b"name=Ali\xce%bb",
    b"name=%c0%80",
    b"name=%f4%90%80%80",
]
READABLE = [
    b"",
    b"name=Alice",
    b"name=Ali%CE%BBce+B",
    "name=Alλce".encode(),
    b"name=%EF%BF%BD",
    b"a=%zz%",
    b"name=100%",
]


def _status(request: HttpRequest) -> int:
    def served(request: HttpRequest) -> HttpResponse:
        dict(request.GET), dict(request.POST)
        return HttpResponse(status=204)

    return plain_text_middleware(served)(request).status_code


def _post(body: bytes, content_type: str, path: str = "/customers/register") -> int:
    return _status(RequestFactory().generic("POST", path, body, content_type))


@pytest.mark.parametrize("body", BROKEN, ids=ascii)
def test_a_form_of_broken_bytes_is_refused(body: bytes) -> None:
    assert _post(body, URLENCODED) == 400
    assert _post(body, f"{URLENCODED}; charset=utf-8") == 400
    assert _post(body, URLENCODED, path="/admin/staff/staffmember/add/") == 400


@pytest.mark.parametrize("query", BROKEN, ids=ascii)
def test_a_query_of_broken_bytes_is_refused(query: bytes) -> None:
    request = RequestFactory().get("/accounts")
    request.META["QUERY_STRING"] = query.decode("latin-1")  # as WSGI has it
    assert _status(request) == 400


@pytest.mark.parametrize("body", READABLE, ids=ascii)
def test_a_form_in_utf_8_is_read(body: bytes) -> None:
    assert _post(body, URLENCODED) == 204


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=xyz",
        'Multipart/Form-Data ; boundary="xyz"',
        "multipart/form-data; boundary=xyz; charset=utf-8",
        "multipart/form-data",
    ],
)
def test_a_form_in_parts_is_refused(content_type: str) -> None:
    body = b'--xyz\r\nContent-Disposition: form-data; name="name"\r\n\r\nAlice\r\n--xyz--\r\n'
    assert _post(body, content_type) == 415
    assert _post(body, content_type, path="/admin/staff/staffmember/add/") == 415


def test_what_is_no_form_is_left_to_who_reads_it() -> None:
    assert _post(b"\xff", "application/json", path="/api/v1/customers") == 204
    assert _post(b"name=%ff", URLENCODED, path="/api/v1/customers") == 204  # no parser there takes it
    assert _post(b"\xff", "application/octet-stream") == 204
    assert _status(RequestFactory().generic("PUT", "/customers/register", b"name=%ff", URLENCODED)) == 204
