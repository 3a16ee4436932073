"""What tests counted themselves, for whoever measures: figures in the file that TESSERA_CHAOS_RESULT names.

`benchmarks/gallery/faults.py` reads it. In a plain run nobody names a file, and nothing is kept.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


def tell(name: str, value: float | str, unit: str, bar: str = "", *, holds: bool | None = None) -> None:
    """Add a figure: before what it says is asserted, so that a failure is told too.

    Args:
        name: what was counted.
        value: how much.
        unit: of what.
        bar: what was asked for, in words.
        holds: whether that was reached; None: nothing was asked for.
    """
    path = os.environ.get("TESSERA_CHAOS_RESULT", "")
    if path:
        figure = {"name": name, "value": value, "unit": unit, "bar": bar, "holds": holds}
        with Path(path).open("a", encoding="utf-8") as file:  # a line at once: several processes may tell
            file.write(json.dumps(figure) + "\n")
