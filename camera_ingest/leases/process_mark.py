"""A process as others on its machine know it again: to see at once that it is dead, and never that it only hangs.

A mark names boot, process namespace, process id and start, so that it means one process for ever. Who is in the same
namespace of the same boot can ask the kernel; for everybody else, a mark says nothing. Linux; elsewhere there is none.
"""

from __future__ import annotations

import os
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE = Path("/proc/self/ns/pid")


def own_mark() -> str:
    """The mark of this process; empty where the system has none."""
    stat = _stat_of(os.getpid())
    place = _place()
    return f"{place}/{os.getpid()}/{stat[1]}" if stat is not None and place else ""


def is_gone(mark: str) -> bool:
    """Whether a process of this machine is certainly dead; False: it lives, or nobody here can know."""
    place, _, which = mark.partition("/")
    pid, _, started = which.partition("/")
    if not place or place != _place() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)  # asks, and sends nothing; it also knows of processes that may not be looked at
    except ProcessLookupError:
        return True
    except OSError:
        return False
    stat = _stat_of(int(pid))
    return stat is not None and (stat[0] in "ZX" or stat[1] != started)


def _place() -> str:
    try:
        return f"{_BOOT.read_text(encoding='ascii').strip()}:{_NAMESPACE.stat().st_ino}"
    except OSError:
        return ""


def _stat_of(pid: int) -> tuple[str, str] | None:
    """State and start of a process. Source: proc_pid_stat(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return fields[0], fields[19]
