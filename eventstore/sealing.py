"""Sealed personal fields: a key per person, so that erasing the key erases the person and history stays whole.

A field's ciphertext is bound to its person, so it cannot be moved to another. Keys are stored wrapped with the
key-encryption keys of the settings (docs/adr/0009-sealed-personal-fields.md).
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection
from os import urandom
from typing import Final, NoReturn
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from eventstore.conf import store_settings
from eventstore.refusals import Refusal

ERASED: Final = "[erased]"
"""What is read in the place of a sealed field whose key is gone."""

_NONCE_BYTES: Final = 12  # NIST SP 800-38D, 8.2.1

# The wrapped keys of these persons, the erased left out.
_SELECT_KEYS = """
SELECT subject_id, wrapped_key FROM eventstore_subject_key WHERE subject_id = ANY(%s) AND wrapped_key <> ''
"""

# New keys; who is first wins, both read the winner's. An erased person gets none.
_INSERT_KEYS = """
INSERT INTO eventstore_subject_key (subject_id, wrapped_key)
SELECT * FROM unnest(%s::uuid[], %s::bytea[])
ON CONFLICT (subject_id) DO NOTHING
"""

# Erases a person. The row stays: with a new key, what the old one sealed could be told from a forgery no more.
_ERASE_KEY = "UPDATE eventstore_subject_key SET wrapped_key = '' WHERE subject_id = %s AND wrapped_key <> ''"


# Some of those that were made last: with the settings as they should be, some of them unwrap.
_SELECT_NEWEST = """
SELECT wrapped_key FROM eventstore_subject_key WHERE wrapped_key <> '' ORDER BY subject_id DESC LIMIT 20
"""


class KeyUnreadable(Exception):
    """This person's key cannot be unwrapped, though others can."""


class PersonErased(Refusal):
    """This person was erased; nothing personal is recorded about them any more."""

    code = "invalid_state"


class PersonKey:
    """Seals and unseals one person's fields."""

    def __init__(self, subject_id: UUID, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._bound_to = subject_id.bytes

    def seal(self, text: str) -> str:
        """The text as base64 of nonce and ciphertext."""
        nonce = urandom(_NONCE_BYTES)
        return urlsafe_b64encode(nonce + self._cipher.encrypt(nonce, text.encode(), self._bound_to)).decode()

    def unseal(self, sealed: str) -> str:
        """The text. Raises cryptography's InvalidTag when the ciphertext was changed or is another person's."""
        raw = urlsafe_b64decode(sealed)
        return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], self._bound_to).decode()


class ErasedPerson:
    """Stands where a person's key was erased."""

    def unseal(self, sealed: str) -> str:  # the shape of PersonKey
        """Always `ERASED`."""
        return ERASED


def _wrapping() -> MultiFernet:
    keys = store_settings().SEALING_KEYS
    if not keys:
        raise ImproperlyConfigured("EVENTSTORE['SEALING_KEYS'] needs a Fernet key to seal personal fields with")
    return MultiFernet([Fernet(key) for key in keys])


def _unwrap(wrapped: bytes) -> bytes | None:
    """The key; None when none of the settings' keys opens it."""
    try:
        return _wrapping().decrypt(wrapped)
    except InvalidToken:
        return None


def keys_of(subject_ids: Collection[UUID], *, using: str) -> dict[UUID, PersonKey]:
    """The keys of those who have one, in one query.

    Raises `KeyUnreadable` for a key that was spoiled, and ImproperlyConfigured when the settings seem to be wrong.
    """
    if not subject_ids:
        return {}
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_KEYS, [list(subject_ids)])
        keys = {subject_id: _unwrap(bytes(wrapped)) for subject_id, wrapped in cursor.fetchall()}
    if spoiled := sorted(subject_id for subject_id, key in keys.items() if key is None):
        _refuse(spoiled[0], using=using)
    return {subject_id: PersonKey(subject_id, key) for subject_id, key in keys.items() if key is not None}


def _refuse(subject_id: UUID, *, using: str) -> NoReturn:
    """Tells a key that was spoiled, which is one person's affair, from settings that lack one, which is everybody's."""
    with connections[using].cursor() as cursor:
        cursor.execute(_SELECT_NEWEST)
        if any(_unwrap(bytes(wrapped)) for (wrapped,) in cursor.fetchall()):
            raise KeyUnreadable(f"the key of {subject_id} cannot be unwrapped, though others can")
    raise ImproperlyConfigured(
        "a person's key cannot be unwrapped: EVENTSTORE['SEALING_KEYS'] lacks the key it was wrapped with"
    )


def ensure_keys(subject_ids: Collection[UUID], *, using: str) -> dict[UUID, PersonKey]:
    """The keys of all of them, made where missing, within the caller's transaction. Raises `PersonErased`."""
    found = keys_of(subject_ids, using=using)
    missing = sorted(set(subject_ids) - found.keys())
    if not missing:
        return found
    wrapped = [_wrapping().encrypt(AESGCM.generate_key(bit_length=256)) for _ in missing]
    with connections[using].cursor() as cursor:
        cursor.execute(_INSERT_KEYS, [missing, wrapped])
    found |= keys_of(missing, using=using)
    if len(found) < len(set(subject_ids)):
        raise PersonErased
    return found


def erase(subject_id: UUID, *, using: str = "default") -> bool:
    """Erases the person: their sealed fields read as `ERASED` from now on, here and in every copy of the events.

    Returns whether there was a key. Read models that show the person are the caller's to rebuild.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(_ERASE_KEY, [subject_id])
        return bool(cursor.rowcount)
