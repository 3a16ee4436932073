"""Ties a process to its parent: when the parent dies, however it dies, the process is killed.

Run as a script of its own, with nothing of Tessera imported: `python -I -S leash.py PARENT_PID COMMAND...`. It asks
the kernel (Linux: PR_SET_PDEATHSIG; elsewhere there is no such thing and the command runs untied) and becomes the
command, so that the process id stays. A `preexec_fn` would do the same, but may deadlock beside the threads of grpc.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the command.

    Args:
        arguments: the parent's process id, and the command.
    """
    parent_id, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent_id:
            # The parent died before the tie was made; nobody will tell us any more.
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
