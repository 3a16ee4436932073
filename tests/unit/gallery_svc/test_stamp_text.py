"""The text of a stamp beside its entry in Redis."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gallery_svc.store.audit_records import AuditStamp
from gallery_svc.store.redis_parts import stamp_from, stamp_text

_COUNTS = st.integers(0, 2**63 - 1)
_STAMPS = st.builds(
    AuditStamp,
    writer=st.text(max_size=40).filter(lambda text: text.isprintable()),
    n=_COUNTS,
    settled=_COUNTS,
    given_up=st.lists(st.tuples(_COUNTS, _COUNTS), max_size=4).map(lambda spans: sum(spans, ())),
    mac=st.binary(min_size=32, max_size=32),
)


@given(_STAMPS)
def test_a_stamp_comes_back_from_its_text(stamp: AuditStamp) -> None:
    """With every field."""
    assert stamp_from(stamp_text(stamp).encode(), "key") == stamp


def test_the_text_is_what_stores_already_hold() -> None:
    """Names, their order and the hex of the MAC stay as they are in the logs that are there."""
    stamp = AuditStamp("gallery-1", 7, 5, (1, 2), bytes(range(32)))
    told = {"writer": "gallery-1", "n": 7, "settled": 5, "given_up": [1, 2], "mac": bytes(range(32)).hex()}
    assert stamp_text(stamp) == json.dumps(told, separators=(",", ":"))
