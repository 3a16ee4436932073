"""One blocking call: a deadline on each, and a failure as a typed exception."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import grpc

from tessera.client.errors import error_of

Request = TypeVar("Request")
Response = TypeVar("Response")


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
        try:
            return method(request, timeout=self._deadline_s)
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
