"""Sends the children of `manage.py up` through the proxies; Python imports it at the start of each process.

The folder of this file stands in PYTHONPATH of a Daybook under faults, and nowhere else. `up` itself keeps the embedded
servers; its children find addresses in their environment, as if the servers were elsewhere. Standard library only.
"""

import json
import os
import sys
from pathlib import Path

ROLES = {"granian": "web", "celery": "worker"}


def role_of(arguments: list[str]) -> str:
    """What the process is: web, worker (with beat), or a command of an operator's."""
    return next((role for word, role in ROLES.items() if word in arguments), "operator")


def divert(*, role: str) -> None:
    """Has this process, and whatever it starts, use the proxies."""
    secrets = json.loads((Path(os.environ["DAYBOOK_DATA_DIR"]) / "credentials.json").read_text(encoding="utf-8"))
    database = f"@127.0.0.1:{os.environ['FAULTS_POSTGRES_PORT']}/daybook"
    options = f"?sslmode=disable&gssencmode=disable&application_name={role}"
    os.environ |= {
        "FAULTS_ROLE": role,
        "DJANGO_SETTINGS_MODULE": "tests.faults.inside.settings",
        "DATABASE_URL": f"postgresql://daybook_app:{secrets['app_password']}{database}{options}",
        "DATABASE_OWNER_URL": f"postgresql://daybook_owner:{secrets['owner_password']}{database}{options}",
        "REDIS_URL": f"redis://:{secrets['redis_password']}@127.0.0.1:{os.environ['FAULTS_REDIS_PORT']}/0",
        "SECRET_KEY": secrets["secret_key"],
        "SEALING_KEYS": secrets["sealing_key"],
    }


if "FAULTS_POSTGRES_PORT" in os.environ and "FAULTS_ROLE" not in os.environ and "up" not in sys.orig_argv:
    divert(role=role_of(sys.orig_argv))
