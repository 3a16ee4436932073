"""One instance on one data folder: the lock that keeps a second one out, and a file that tells where this one is."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from tessera.cli.child import ChildReport
from tessera.cli.failure import Failure
from tessera.cli.ports import Ports

DATA_DIR_VARIABLE = "TESSERA_UP_DATA_DIR"


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/tessera`, else `~/.local/share/tessera`."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "tessera"


@contextmanager
def locked_data_dir(data_dir: Path) -> Iterator[Path]:
    """Make the data folder, for its owner alone, and keep other instances out of it.

    The kernel gives the lock back when this process ends, also by kill -9.

    Raises:
        Failure: the folder cannot be used, or another instance has it.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "up.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise unusable(data_dir, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _occupied(data_dir, lock.name) from None
        try:
            lock.truncate(0)
            os.write(lock.fileno(), f"{os.getpid()}\n".encode())
        except OSError as error:
            raise unusable(data_dir, error) from None
        yield data_dir


def unusable(data_dir: Path, error: OSError) -> Failure:
    """Why the data folder cannot be written to: it is read-only, the disk is full, ..."""
    return Failure(
        f"{error.filename or data_dir}: {error.strerror}",
        field="--data-dir",
        value=str(data_dir),
        allowed="a folder to write to",
    )


def _occupied(data_dir: Path, lock_path: str) -> Failure:
    owner = Path(lock_path).read_text(encoding="utf-8").strip() or "unknown"
    return Failure(
        f"an instance runs on {data_dir} already (process {owner})",
        field="--data-dir",
        value=str(data_dir),
        allowed="a folder that no other instance uses",
        next_step="use the running one, end it, or choose another folder with --data-dir",
        reason="INSTANCE_RUNNING",
    )


def write_instance(data_dir: Path, ports: Ports, children: Sequence[ChildReport]) -> bool:
    """Tell other programs where everything is: `instance.json`, replaced in one step.

    Returns:
        Whether it could be written: a full disk ends nothing that still runs.
    """
    told = {
        "pid": os.getpid(),
        "ports": asdict(ports),
        "children": [
            {
                "name": child.name,
                "pid": child.pid,
                "state": child.state.value,
                "restarts": child.restarts,
                "address": child.address,
                "metrics_url": child.metrics_url,
            }
            for child in children
        ],
    }
    part = data_dir / "instance.json.part"
    try:
        part.write_text(json.dumps(told, indent=1), encoding="utf-8")
        part.replace(data_dir / "instance.json")
    except OSError:
        return False
    return True
