"""Where the embedded servers of one data folder live: paths and addresses, computed from the folder's own path.

Invariant: everything follows from the data folder's real path, and nothing absolute is stored in it; so a copied
folder gets sockets of its own, and a second terminal finds the servers without asking anyone.
Imported by settings (which must stay free of side effects: nothing is created here) and by the supervisor.
"""

import hashlib
import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

DATABASE_NAME = "daybook"
OWNER_ROLE = "daybook_owner"
APP_ROLE = "daybook_app"
IDENTITY_FILE = "id"
POSTGRES_PORT = 5432  # names the socket file only; no TCP port is opened

# A socket's path is at most 107 bytes on Linux and 103 on macOS, the terminating zero aside.
MAX_SOCKET_PATH_BYTES = 103
SERVICE_USERS = ("daybook", "nobody")
# Socket folders stand here when the data folder's path is too long; they are made 0700, and a stranger's is refused.
SHORT_DIR = Path("/tmp")  # noqa: S108
# Where root keeps what the service user must reach when it cannot enter the data folder.
ROOT_FALLBACK_DIR = Path("/var/lib/daybook")


@dataclass(frozen=True, kw_only=True)
class ServiceUser:
    """The unprivileged user whom the servers run as when Daybook itself runs as root."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, kw_only=True)
class Home:
    """The places of one data folder's servers. `service_user` is None when Daybook does not run as root."""

    data_dir: Path
    service_user: ServiceUser | None
    servers_dir: Path
    socket_dir: Path

    @property
    def is_reachable(self) -> bool:
        """Whether the servers' files stand in the data folder itself."""
        return self.servers_dir == self.data_dir

    @property
    def cluster_dir(self) -> Path:
        """The Postgres data directory."""
        return self.servers_dir / "postgres"

    @property
    def redis_dir(self) -> Path:
        """The working directory of Redis."""
        return self.servers_dir / "redis"

    @property
    def elsewhere_file(self) -> Path:
        """Names the folder of the servers' files when they stand outside the data folder."""
        return self.data_dir / "servers-are-in"

    @property
    def credentials_file(self) -> Path:
        """Generated passwords and the secret key; readable by the user who runs Daybook alone."""
        return self.data_dir / "credentials.json"

    @property
    def postgres_socket(self) -> Path:
        """The socket that Postgres listens on."""
        return self.socket_dir / f".s.PGSQL.{POSTGRES_PORT}"

    @property
    def redis_socket(self) -> Path:
        """The socket that Redis listens on."""
        return self.socket_dir / "redis.sock"

    def database_url(self, *, user: str, password: str, database: str = DATABASE_NAME) -> str:
        """The address of a database on the embedded server, as libpq and `DATABASE_URL` take it."""
        return f"postgresql://{quote(user)}:{quote(password)}@/{quote(database)}?host={quote(str(self.socket_dir))}"

    def redis_url(self, *, password: str, database: int = 0) -> str:
        """The address of the embedded Redis, as redis-py and `REDIS_URL` take it."""
        return f"unix://:{quote(password)}@{quote(str(self.redis_socket))}?db={database}"

    def postgres_answers(self) -> bool:
        """Whether somebody listens on the Postgres socket."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.postgres_socket))
            except OSError:
                return False
            return True


def find_home(*, data_dir: Path) -> Home:
    """Compute where the servers of a data folder live; creates nothing.

    As root the servers run as an unprivileged user. When that user cannot enter the data folder (it lies under
    /root, say), the servers' files live under `ROOT_FALLBACK_DIR` instead: no parent folder's rights are widened.
    A cluster that was made in either place stays there.
    """
    data_dir = Path(os.path.realpath(data_dir))
    service_user = _service_user(data_dir=data_dir) if os.geteuid() == 0 else None
    name = hashlib.sha256(os.fsencode(data_dir) + _identity(data_dir=data_dir)).hexdigest()[:16]
    elsewhere = ROOT_FALLBACK_DIR / name
    stays_elsewhere = (elsewhere / "postgres").exists()
    if service_user is None or (data_dir / "postgres").exists():
        servers_dir = data_dir
    elif stays_elsewhere or not can_enter(user=service_user, folder=data_dir):
        servers_dir = elsewhere
    else:
        servers_dir = data_dir
    return Home(
        data_dir=data_dir,
        service_user=service_user,
        servers_dir=servers_dir,
        socket_dir=_socket_dir(servers_dir=servers_dir, name=name),
    )


def can_enter(*, user: ServiceUser, folder: Path) -> bool:
    """Whether the file modes let the user traverse the folder and all its parents.

    Folders that do not exist yet count as open: whoever makes them makes them so.
    """
    for place in (folder, *folder.parents):
        try:
            status = place.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == user.uid:
            bit = 0o100
        elif status.st_gid == user.gid:
            bit = 0o010
        else:
            bit = 0o001
        if not status.st_mode & bit:
            return False
    return True


def _identity(*, data_dir: Path) -> bytes:
    """What tells this folder from one that stood at the same path before; empty before the first start."""
    try:
        return (data_dir / IDENTITY_FILE).read_bytes()
    except OSError:
        return b""


def _socket_dir(*, servers_dir: Path, name: str) -> Path:
    """A folder short enough that the longest socket in it (with Postgres' lock file) fits the system's limit."""
    preferred = servers_dir / "run"
    longest = preferred / f".s.PGSQL.{POSTGRES_PORT}.lock"
    return preferred if len(os.fsencode(longest)) <= MAX_SOCKET_PATH_BYTES else SHORT_DIR / f"daybook-{name}"


def _service_user(*, data_dir: Path) -> ServiceUser | None:
    """Who runs the servers for root: the owner of an existing cluster, else the first service user there is."""
    try:
        owner_uid = (data_dir / "postgres").stat().st_uid
    except OSError:
        owner_uid = 0
    if owner_uid:
        return _known_user(owner_uid)
    for name in SERVICE_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServiceUser(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    return None


def _known_user(uid: int) -> ServiceUser:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return ServiceUser(name=str(uid), uid=uid, gid=uid)
    return ServiceUser(name=entry.pw_name, uid=uid, gid=entry.pw_gid)
