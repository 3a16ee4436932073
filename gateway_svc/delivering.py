"""What every way to a target has in common: it takes a message, or says whether trying again may help."""

from __future__ import annotations

from typing import Protocol

from gateway_svc.messages import Message
from tessera.domain.errors import TesseraError


class DeliveryError(TesseraError):
    """The target did not take it; the same message may be tried again.

    Args:
        detail: what happened, in a few words, without credentials.
        retry_after_s: the target asked not to be tried before.
    """

    def __init__(self, detail: str, retry_after_s: float = 0.0) -> None:
        self.detail = detail
        self.retry_after_s = retry_after_s
        super().__init__(detail)


class DeliveryRefusedError(DeliveryError):
    """The target will never take this message."""


class Deliverer(Protocol):
    """One way to one target."""

    async def deliver(self, message: Message) -> None:
        """Hand the message over; returns when the target has taken it.

        Raises:
            DeliveryError: it has not, or nobody knows.
        """
        ...

    async def tell_state(self, message: Message) -> None:
        """Bring what the target shows up to date with a message that is not delivered; tells nothing as news.

        Raises:
            DeliveryError: it could not be.
        """
        ...

    async def close(self) -> None:
        """Let go of its connections."""
        ...
