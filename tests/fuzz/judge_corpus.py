"""Decodes every picture of a folder, one after the other, and tells what became of each; run as a process of its own.

    python judge_corpus.py FOLDER

One JSON object: the answers by file name, the slowest decode in the processor's time, and how far the memory's
high-water mark rose.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tessera.domain.errors import ImageRejectedError
from tessera.imaging.decode import DEFAULT_LIMITS, decode, decode_for_detection


def main() -> int:
    """Run from the command line."""
    names = sorted(path for path in Path(sys.argv[1]).iterdir())
    answer(names[0].read_bytes())  # whatever the libraries load on first use is theirs, not the pictures'
    before_kib = _high_water_kib()
    answers, slowest_s = {}, (0.0, "")
    for path in names:
        data = path.read_bytes()
        started_s = time.process_time()
        answers[path.name] = answer(data)
        slowest_s = max(slowest_s, (time.process_time() - started_s, path.name))
    told = {"answers": answers, "slowest_s": slowest_s, "risen_mib": (_high_water_kib() - before_kib) / 1024}
    sys.stdout.write(json.dumps(told))
    return 0


def answer(data: bytes) -> str:
    """`fine` or a reason; both ways of decoding must agree."""
    in_full, for_detection = (_one(lambda: decode(data)), _one(lambda: decode_for_detection(data, DEFAULT_LIMITS, 64)))
    return in_full if in_full == for_detection else f"{in_full}, but {for_detection} for detection"


def _one(decoded: Callable[[], object]) -> str:
    try:
        decoded()
    except ImageRejectedError as error:
        return error.reason.value
    return "fine"


def _high_water_kib() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


if __name__ == "__main__":
    sys.exit(main())
