"""A wall clock of the product's processes that jumps while they run; needs a C compiler, and says so without one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("jumping_clock.c")


class JumpingClock:
    """What makes the clock of processes jump.

    Args:
        folder: for the compiled library and the offset.
    """

    def __init__(self, folder: Path) -> None:
        self._library = folder / "jumping_clock.so"
        self._offset = folder / "offset"
        self.set_s(0)

    @staticmethod
    def can_be_had() -> bool:
        """Whether there is a C compiler."""
        return shutil.which("cc") is not None

    def build(self) -> None:
        """Compile it.

        Raises:
            CalledProcessError: the compiler refuses.
        """
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(_SOURCE), "-ldl"], check=True)

    @property
    def environ(self) -> dict[str, str]:
        """Of the processes whose clock is to jump."""
        return {"LD_PRELOAD": str(self._library), "JUMPING_CLOCK_FILE": str(self._offset)}

    def set_s(self, offset_s: int) -> None:
        """Move their wall clock to so many seconds from the real one."""
        with self._offset.open("r+b" if self._offset.exists() else "wb") as file:
            file.write(offset_s.to_bytes(8, "little", signed=True))
