"""The generated passwords and secret key of one data folder.

Invariant: once written they never change, and only the user who runs Daybook can read them (mode 0600).
Imported by settings (reading only) and by whoever starts the servers (which may create them).
"""

import base64
import json
import os
import secrets
import tempfile
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path


def _new_password() -> str:
    return secrets.token_hex(24)


def new_sealing_key() -> str:
    """A key that wraps the keys of sealed personal fields: 32 random bytes, as Fernet spells them."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Secrets of one data folder; every new instance has fresh ones."""

    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(64))
    sealing_key: str = field(default_factory=new_sealing_key)
    superuser_password: str = field(default_factory=_new_password)
    owner_password: str = field(default_factory=_new_password)
    app_password: str = field(default_factory=_new_password)
    redis_password: str = field(default_factory=_new_password)


class CredentialsUnreadable(Exception):
    """The credentials of the data folder cannot be read."""


def read_credentials(*, path: Path) -> Credentials | None:
    """Return the stored credentials, or None when there are none yet.

    Raises CredentialsUnreadable when the file is another user's or damaged.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Credentials(**{item.name: str(stored[item.name]) for item in fields(Credentials)})
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise CredentialsUnreadable(
            f"{path} belongs to another user; run Daybook as that user, or set DAYBOOK_DATA_DIR to a folder of your own"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise CredentialsUnreadable(
            f"{path} is damaged; restore it from a copy (without it the data of the embedded servers cannot be opened)"
        ) from error


def load_or_create_credentials(*, path: Path) -> Credentials:
    """Return the stored credentials, first making them when there are none.

    Raises CredentialsUnreadable when the file is another user's or damaged.
    """
    stored = read_credentials(path=path)
    if stored is not None:
        return stored
    created = Credentials()
    _write_whole(path=path, text=json.dumps(asdict(created), indent=2) + "\n")
    return created


def _write_whole(*, path: Path, text: str) -> None:
    """Write a file readable by its owner alone, so that a crash leaves the whole file or none."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name + ".")  # mkstemp makes it 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
