"""Mail, chat and push, through Apprise: one URL, one person or room. Apprise is loaded only where a target uses it."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gateway_svc import texts
from gateway_svc.delivering import DeliveryError, DeliveryRefusedError
from gateway_svc.happenings import Severity
from gateway_svc.messages import Message
from gateway_svc.targets import Apprise

_THREADS = 4


class AppriseDeliverer:
    """Hands messages to one service that Apprise knows.

    Args:
        way: which, with its credentials.
    """

    def __init__(self, way: Apprise) -> None:
        self._way = way
        self._service: Any = None
        self._threads = ThreadPoolExecutor(_THREADS, "apprise")

    async def deliver(self, message: Message) -> None:
        """Send it.

        Raises:
            DeliveryRefusedError: Apprise knows no such service.
            DeliveryError: the service did not take it; Apprise does not tell why.
        """
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._threads, self._notify, message):
            raise DeliveryError(f"{self._way.scheme} did not take it")

    async def tell_state(self, message: Message) -> None:
        """Nothing: it shows no state."""

    async def close(self) -> None:
        """Let its threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _notify(self, message: Message) -> bool:
        if self._service is None:
            self._service = self._opened()
        kind = "info" if message.happening.severity <= Severity.INFO else "warning"
        kind = "failure" if message.happening.severity is Severity.CRITICAL else kind
        kind = "success" if message.happening.is_over else kind
        return bool(self._service.notify(title=texts.title(message), body=texts.body(message), notify_type=kind))

    def _opened(self) -> Any:  # noqa: ANN401 - Apprise ships types of its own making
        import apprise  # noqa: PLC0415 - a hundred services, which most gateways do without

        # What it logs may hold the URL, and with it the credentials.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        service = apprise.Apprise()
        if not service.add(str(self._way.url)):
            raise DeliveryRefusedError(f"Apprise cannot read a URL of {self._way.scheme}")
        return service
