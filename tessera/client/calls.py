"""One blocking call: a deadline on each, and a failure as a typed exception."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import grpc

from tessera.client.errors import OutcomeUnknown, ServiceUnavailable, error_of

Request = TypeVar("Request")
Response = TypeVar("Response")


_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0
_LEAST_DEADLINE_S = 0.05


class Page(Protocol):
    """What every answer to a List method has."""

    next_page_token: str


PageType = TypeVar("PageType", bound=Page)


class Caller:
    """Calls methods of one service.

    Args:
        service: its name for people, such as `gallery`.
        address: where it listens, as `host:port`.
        deadline_s: a call without an answer after so long fails.
    """

    def __init__(self, service: str, address: str, deadline_s: float) -> None:
        self.service = service
        self.address = address
        self._deadline_s = deadline_s

    def call(self, method: Callable[..., Response], request: object) -> Response:
        """Call a unary method.

        Raises:
            TesseraCallError: the service refused it, failed, or did not answer.
        """
        return self._call(method, request, self._deadline_s)

    def settle(self, method: Callable[..., Response], request: object) -> Response:
        """Call a unary method that writes, again and again while nobody can say whether it has, until the deadline.

        Args:
            method: of a stub.
            request: with a request id, by which its repetitions write once.

        Raises:
            OutcomeUnknown: nobody could say until the deadline.
            TesseraCallError: the service refused it, failed, or did not answer.
        """
        until_s = time.monotonic() + self._deadline_s
        pause_s = _FIRST_PAUSE_S
        unknown: OutcomeUnknown | None = None
        while True:
            try:
                return self._call(method, request, max(_LEAST_DEADLINE_S, until_s - time.monotonic()))
            except ServiceUnavailable as error:
                # A later refusal says nothing of the earlier write: until it is settled, it stays unknown.
                unknown = error if isinstance(error, OutcomeUnknown) else unknown
                if unknown is None:
                    raise
            if time.monotonic() + pause_s + _LEAST_DEADLINE_S > until_s:
                raise unknown
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _call(self, method: Callable[..., Response], request: object, deadline_s: float) -> Response:
        try:
            return method(request, timeout=deadline_s)
        except grpc.RpcError as error:
            raise error_of(error, self.service, self.address) from None

    def pages(self, method: Callable[..., PageType], request: Any) -> Iterator[PageType]:  # noqa: ANN401 - any List request
        """Call a List method until its last page; `request` is changed on the way."""
        while True:
            page = self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
