"""Fetches audit entries as they stand in their logs, for those who check them elsewhere.

Trusts nothing of what comes: `tessera.trust` says what it is worth.
"""

from __future__ import annotations

from collections.abc import Iterator

from tessera.chassis.channel import open_blocking_channel
from tessera.client.calls import Caller
from tessera.domain.errors import InvalidInputError
from tessera.trust.stamps import MAC_BYTES, Stamp, StampedEntry
from tessera.v1 import audit_pb2, gallery_pb2_grpc

_PAGE = 1000


def audit_entries(address: str, collection_id: str = "", *, deadline_s: float = 10.0) -> Iterator[StampedEntry]:
    """Every entry of the audit logs, log by log, in the order of each.

    Args:
        address: `host:port` of gallery_svc.
        collection_id: empty: the logs of all collections, and of what belongs to none.
        deadline_s: for each page.

    Raises:
        TesseraCallError: a call failed.
        InvalidInputError: the service gave what is no entry.
    """
    with open_blocking_channel(address) as channel:
        stub = gallery_pb2_grpc.GalleryServiceStub(channel)
        request = audit_pb2.QueryAuditRequest(collection_id=collection_id, page_size=_PAGE)
        for page in Caller("gallery", address, deadline_s).pages(stub.QueryAudit, request):
            for message in page.entries:
                yield _entry(message)


def _entry(message: audit_pb2.AuditEntry) -> StampedEntry:
    given_up = tuple(message.given_up)
    if len(message.mac) != MAC_BYTES or len(given_up) % 2:
        allowed = "a gallery that stamps its audit log"
        raise InvalidInputError("--server", f"entry {message.sequence} of {message.log} has no stamp", allowed)
    stamp = Stamp(message.writer, message.writer_count, message.writer_settled, given_up, message.mac)
    return StampedEntry(message.log, message.sequence, message.entry, stamp)
