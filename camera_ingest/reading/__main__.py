"""The process that readers are forked from. Run by its parent: `python -m camera_ingest.reading FD`."""

from __future__ import annotations

import socket
import sys

from camera_ingest.reading.forking import ForkServer

if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        ForkServer(channel).serve()
