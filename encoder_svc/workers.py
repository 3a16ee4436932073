"""Threads for what is done with a picture beside its networks: reading headers, decoding, aligning, measuring."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from encoder_svc.scheduling.work import WorkClass
from tessera.domain.errors import UnavailableError

T = TypeVar("T")


class Workers:
    """Threads of its own for each class: a verify call does not wait in line behind the frames of all cameras.

    Args:
        threads: of each class.
    """

    def __init__(self, threads: int) -> None:
        self._pools = {work_class: ThreadPoolExecutor(threads, f"pictures-{work_class}") for work_class in WorkClass}

    async def run(self, work_class: WorkClass, work: Callable[..., T], *arguments: object) -> T:
        """Run a function on a thread of this class.

        Raises:
            UnavailableError: the threads were ended.
            Exception: what it raised.
        """
        try:
            begun = self._pools[work_class].submit(work, *arguments)
        except RuntimeError:
            raise UnavailableError("encoder", "shutting down") from None
        try:
            return await asyncio.wrap_future(begun)
        finally:
            del begun  # an error's traceback holds this frame: the picture would wait for the garbage collector

    def close(self) -> None:
        """End the threads; what has not begun is dropped."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
