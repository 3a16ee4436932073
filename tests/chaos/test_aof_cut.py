"""A file that was cut anywhere in its last operation: whole before or after it, or refused with what mends it.

What a cut of commands leaves that nothing holds together is the control: there, half of an operation must appear, or
these tests look at nothing. Each beginning of a script's effects, replayed by hand, stands in `test_redis_cuts`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gallery_svc.store.protocol import audit_log
from tests.chaos.aof_cutting import (
    OPERATIONS,
    Bench,
    command_ends,
    commands,
    is_refused,
    record,
    send_plainly,
    take_away_what_was_cut,
    try_cuts,
)
from tests.congruence.store_world import STAFF, audit, audited_everywhere
from tests.measure import Measure
from tests.servers import binary_of
from tests.told import tell

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(7200)]

CUTS = 22
"""Of each operation when not every byte is tried: 66 of each kind of server."""

JOINS = {"valkey": False, "redis7": True, "redis8": True}
"""Whether a server joins a transaction that was cut to the one behind it, at its next start."""


@pytest.mark.parametrize("name", OPERATIONS)
async def test_no_cut_leaves_half_of_an_operation_unseen(
    tmp_path: Path, measure: Measure, kind: str, binary: Path, name: str
) -> None:
    """At each byte: the state before or after, an empty check, and the same after a write and another start.

    Redis 7 and 8 keep the beginning of a transaction in the file and carry it out later, with the next one: there the
    second start is refused. What was written in between is there in any case.
    """
    recorded = await record(binary, tmp_path / "recorded", OPERATIONS[name])
    cuts = list(recorded.offsets) if measure.every_byte else recorded.sampled(CUTS)
    with Bench(recorded, tmp_path / "one") as one, Bench(recorded, tmp_path / "other") as other:
        outcomes = await try_cuts([one, other], cuts)
    last, at = len(recorded.whole), f"{name} on {kind}"
    bad = [outcome for outcome in outcomes if outcome.is_bad(last)]
    seen = Counter(outcome.second_start for outcome in outcomes)
    every = len(outcomes) == len(recorded.offsets)
    tell(f"{at}: offsets cut", len(outcomes), f"of {len(recorded.offsets)}", "all", holds=every or None)
    tell(f"{at}: cuts that end badly", len(bad), "cuts", "0", holds=not bad)
    tell(f"{at}: later starts that are refused, with instructions", seen["refused"], f"of {len(outcomes)}")
    assert bad == []
    assert {outcome.first_start for outcome in outcomes if outcome.cut < last} == {"before"}
    assert [outcome.first_start for outcome in outcomes if outcome.cut == last] == ["after"]
    assert seen["whole"] + seen["refused"] == len(outcomes)
    assert (seen["refused"] > 0) == JOINS[kind]


@pytest.mark.parametrize("name", OPERATIONS)
async def test_the_same_effects_as_single_commands_are_cut_in_half(
    tmp_path: Path, binary: Path, kind: str, name: str
) -> None:
    """The control: sent without a transaction, all but the first and the last cut leave half, and each is refused."""
    recorded = await record(binary, tmp_path / "recorded", OPERATIONS[name])
    half = 0
    with Bench(recorded, tmp_path / "bench") as bench:
        await bench.start_on(recorded.whole[: recorded.begin])
        effects = commands(recorded.whole, recorded.begin)
        send_plainly(bench.server, effects)
        assert bench.digest() == recorded.after, "these are not the effects of the script"
        sent = bench.read()
        for cut in command_ends(sent, recorded.begin)[-len(effects) : -1]:
            await bench.start_on(sent[:cut])
            assert bench.digest() not in (recorded.before, recorded.after)
            async with bench.store() as store:
                assert await is_refused(store), f"{kind}: half of it passes, cut at {cut}"
                assert await store.check(STAFF) != []
            half += 1
    share = f"of {len(effects) - 1}"
    tell(
        f"{name} on {kind}, control: halves of it without a transaction that are refused",
        half,
        share,
        "all",
        holds=True,
    )
    assert half == len(effects) - 1 > 3


async def test_what_is_acknowledged_behind_a_cut_transaction_holds_or_not(
    tmp_path: Path, kind: str, binary: Path
) -> None:
    """Redis 7 and 8 lose a single command behind it at the next start, be it forced to the disk: the reason for
    `aof-load-truncated no` there. Valkey 9 does not.
    """
    recorded = await record(binary, tmp_path / "recorded", OPERATIONS["enroll"])
    with Bench(recorded, tmp_path / "bench") as bench:
        await bench.start_on(recorded.whole[: recorded.ends[3] - 1])
        assert await _audit_entry_holds(bench) != JOINS[kind]


@pytest.mark.parametrize("name", [name for name in JOINS if JOINS[name]])
async def test_a_redis_that_takes_no_cut_file_loses_nothing_later(tmp_path: Path, name: str) -> None:
    """With `aof-load-truncated no` it does not start; its own tool takes the operation away whole, and all that is
    written after it holds.
    """
    binary = binary_of(name)
    if binary is None:
        pytest.skip(f"{name} is not installed: that its tool takes a cut operation away whole stays unproved")
    recorded = await record(binary, tmp_path / "recorded", OPERATIONS["enroll"])
    with Bench(recorded, tmp_path / "bench", "--aof-load-truncated", "no") as bench:
        with pytest.raises(TimeoutError):
            await bench.start_on(recorded.whole[: recorded.ends[3] - 1])
        take_away_what_was_cut(bench)
        await bench.restart()
        assert bench.digest() == recorded.before
        assert await _audit_entry_holds(bench)


async def _audit_entry_holds(bench: Bench) -> bool:
    """Whether an entry that was acknowledged is there after another start, with nothing written behind it."""
    async with bench.store() as store:
        await store.prepare()
        await store.append_audit(audit_log(STAFF, 0), [audit("IdentifyFace")])
        await bench.restart()
        return "IdentifyFace" in await audited_everywhere(store, 1)
