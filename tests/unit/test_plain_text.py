"""What is not UTF-8 is refused before anything reads it, in an address and in a form alike."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from config.plain_text import plain_text_middleware

URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=xyz"

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


def _part(value: bytes, *headers: bytes) -> bytes:
    head = b"\r\n".join([b'Content-Disposition: form-data; name="name"', *headers])
    return b"--xyz\r\n" + head + b"\r\n\r\n" + value + b"\r\n--xyz--\r\n"


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


@pytest.mark.parametrize("value", [b"Ali\xffce", b"Ali\xce", b"\xed\xa0\x80"], ids=ascii)
def test_a_part_of_broken_bytes_is_refused(value: bytes) -> None:
    assert _post(_part(value), MULTIPART) == 400


@pytest.mark.parametrize(
    "header",
    [
        b"Content-Type: text/plain; charset=latin-1",
        b'content-type: text/plain; CHARSET="utf-16"',
        b"Content-Type: text/plain; charset=utf-8x",
        b"Content-Type: text/plain; charset*=us-ascii''utf-7",
        b"Content-Transfer-Encoding: base64",
        b"content-transfer-encoding : quoted-printable",
    ],
)
def test_a_part_that_is_encoded_otherwise_is_refused(header: bytes) -> None:
    assert _post(_part(b"QWxpY2U=", header), MULTIPART) == 415


@pytest.mark.parametrize("headers", [[], [b"Content-Type: text/plain; charset=UTF-8"], [b'X: charset="utf-8"']])
def test_a_part_in_utf_8_is_read(headers: list[bytes]) -> None:
    assert _post(_part("Alλce".encode(), *headers), MULTIPART) == 204


def test_what_is_no_form_is_left_to_who_reads_it() -> None:
    assert _post(b"\xff", "application/json", path="/api/v1/customers") == 204
    assert _post(b"name=%ff", URLENCODED, path="/api/v1/customers") == 204  # no parser there takes it
    assert _post(b"\xff", "application/octet-stream") == 204
    assert _status(RequestFactory().generic("PUT", "/customers/register", b"name=%ff", URLENCODED)) == 204
