"""Passwords: how they are kept, and that a wrong one costs the same whoever it is for."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, make_password
from django.test import Client

from config.staff.models import StaffMember
from config.staff.roles import Role
from tests.conftest import Database
from tests.integration.counter import PASSWORD, Counter, member_of, problem


@pytest.fixture
def name(committed_db: Database) -> str:
    return member_of(Role.TELLER, name=f"tilda-{uuid4()}").username


def _page(name: str, password: str) -> Any:
    return Client(REMOTE_ADDR="192.0.2.30").post("/log-in", {"username": name, "password": password})


def test_it_checks_a_password_for_a_name_that_nobody_has_too(name: str) -> None:
    stranded = member_of(Role.TELLER, name=f"left-{uuid4()}")
    StaffMember.objects.filter(pk=stranded.pk).update(is_active=False)
    program = member_of(Role.SERVICE, name=f"program-{uuid4()}")
    program.set_unusable_password()
    program.save()
    hashed = []
    real = Argon2PasswordHasher.encode

    def encode(self: Argon2PasswordHasher, *args: Any, **kwargs: Any) -> str:
        hashed.append(1)
        return str(real(self, *args, **kwargs))

    costs = []
    for tried in (f"nobody-{uuid4()}", program.username):
        hashed.clear()
        with patch.object(Argon2PasswordHasher, "encode", encode):
            _page(tried, "wrong")
        costs.append(len(hashed))
    verified = []
    for tried in (name, stranded.username):
        with patch.object(Argon2PasswordHasher, "verify", lambda *_: verified.append(1)):
            _page(tried, "wrong")
    assert costs == [1, 1]
    assert len(verified) == 2


def test_it_keeps_passwords_by_argon2(name: str) -> None:
    assert StaffMember.objects.get(username=name).password.startswith("argon2$argon2id$")
    StaffMember.objects.filter(username=name).update(password=make_password(PASSWORD, hasher="pbkdf2_sha256"))
    assert _page(name, PASSWORD).status_code == 303
    assert StaffMember.objects.get(username=name).password.startswith("argon2$argon2id$")


def test_a_new_password_ends_every_log_in(name: str) -> None:
    here, there = Counter(Role.TELLER, name=name), Client()
    there.force_login(here.member)
    assert (here.get("accounts").status_code, there.get("/accounts").status_code) == (200, 200)
    member = StaffMember.objects.get(username=name)
    member.set_password("another correct horse")
    member.save()
    problem(here.get("accounts"), 401, "unauthenticated")
    assert there.get("/accounts").status_code == 302


def test_a_better_hash_of_the_same_password_ends_none(name: str) -> None:
    here = Counter(Role.TELLER, name=name)
    StaffMember.objects.filter(username=name).update(password=make_password(PASSWORD, hasher="pbkdf2_sha256"))
    assert _page(name, PASSWORD).status_code == 303
    assert here.get("accounts").status_code == 200
