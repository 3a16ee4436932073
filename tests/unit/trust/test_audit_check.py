"""A log is as it was written, or the check says where it is not: every kind of change, at every place."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.trust.audit_world import (
    CHECKPOINTS,
    ENTRIES,
    KEY,
    LOG,
    World,
    Writers,
    checkpointed,
    honest_log,
    honest_world,
    renumbered,
)

from gallery_svc.signing import Signer
from tessera.trust.audit_check import AuditReport, verify_audit
from tessera.trust.findings import FindingKind
from tessera.trust.stamps import Stamp, StampedEntry, mac_of, stamped_bytes
from tessera.trust.trail import Trail, read_trail

LAST = CHECKPOINTS[-1]
PLACES = range(1, ENTRIES + 1)
COVERED = range(1, LAST + 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """An honest log and its checkpoints."""
    return honest_world(tmp_path_factory.mktemp("audit"))


def _kinds(report: AuditReport) -> set[FindingKind]:
    return {finding.kind for finding in report.findings}


def _resigned(entry: StampedEntry, content: bytes) -> StampedEntry:
    """The entry with other content and a right MAC, as who has the audit key can make it."""
    stamp = replace(entry.stamp, mac=mac_of(KEY, stamped_bytes(entry.log, content, replace(entry.stamp, mac=b""))))
    return replace(entry, entry=content, stamp=stamp)


def _window(place: int) -> tuple[int, int]:
    """First and last sequence of the checkpoint's span that a place is in."""
    end = next(checkpoint for checkpoint in CHECKPOINTS if place <= checkpoint)
    return max((before for before in CHECKPOINTS if before < place), default=0) + 1, end


@pytest.mark.parametrize("with_key", [True, False])
def test_an_honest_log_has_no_findings(world: World, with_key: bool) -> None:
    """Writes that overtake each other, are given up, or come late although given up, are no findings."""
    report = world.check(with_key=with_key)
    assert report.findings == ()
    assert (report.entries, report.first, report.last, report.checkpoint) == (ENTRIES, 1, ENTRIES, LAST)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_honest_log_has_no_findings(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever order concurrent writes land in, and whichever are given up: nothing is found, at any reading length."""
    writers = Writers()
    flying: list[tuple[int, bytes, Stamp]] = []
    for action in data.draw(st.lists(st.sampled_from(["stamp", "land", "lose", "unknown"]), max_size=60)):
        if action == "stamp" or not flying:
            flying.append(writers.stamp(data.draw(st.integers(0, 2))))
            continue
        stamped = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
        if action == "lose":
            writers.give_up(stamped)
        else:
            writers.land(stamped, known=action == "land")
    at = data.draw(st.sets(st.integers(1, 60)))
    signer = Signer.ephemeral()
    content = checkpointed(tmp_path_factory.mktemp("any"), writers.entries, sorted(at), signer)
    report = verify_audit(LOG, writers.entries, read_trail(LOG, content, signer.public_keys), [KEY])
    assert report.findings == ()


@pytest.mark.parametrize("what", ["entry", "mac", "writer", "n", "settled", "given_up"])
def test_an_edit_is_found_where_it_is(world: World, what: str) -> None:
    """With the audit key, any changed field of any entry is EDITED (or FOREIGN, when it tells of another place)."""
    for place in PLACES:
        entries = list(world.entries)
        old = entries[place - 1]
        stamp = {
            "entry": old.stamp,
            "mac": replace(old.stamp, mac=bytes([old.stamp.mac[0] ^ 1]) + old.stamp.mac[1:]),
            "writer": replace(old.stamp, writer="gallery-x"),
            "n": replace(old.stamp, n=old.stamp.n + 1),
            "settled": replace(old.stamp, settled=old.stamp.settled + 1),
            "given_up": replace(old.stamp, given_up=(*old.stamp.given_up, 1, 2)),
        }[what]
        entries[place - 1] = replace(old, entry=old.entry + b" " if what == "entry" else old.entry, stamp=stamp)
        report = world.check(entries)
        assert report.findings[0].sequence == place
        # Behind the last entry of a writer nothing tells that the place it left is empty.
        assert report.findings[0].kind in {FindingKind.EDITED, FindingKind.FOREIGN}
        if what in {"entry", "mac"} and place < ENTRIES - 5:
            # What it told of counts that were given up is believed no more.
            untold = {FindingKind.DELETED} if old.stamp.given_up else set()
            assert _kinds(report) in ({FindingKind.EDITED}, {FindingKind.EDITED} | untold)


def test_an_edit_before_a_checkpoint_is_found_without_the_audit_key(world: World) -> None:
    """The finding names the entries between the two checkpoints."""
    for place in COVERED:
        entries = list(world.entries)
        entries[place - 1] = replace(entries[place - 1], entry=b"{}")
        first, last = _window(place)
        report = world.check(entries, with_key=False)
        assert [(one.kind, one.sequence, one.last_sequence) for one in report.findings] == [
            (FindingKind.EDITED, first, last)
        ]


@pytest.mark.parametrize("with_key", [True, False])
def test_a_deleted_entry_is_found_by_its_sequence(world: World, with_key: bool) -> None:
    """An entry that is taken out of the stream leaves a hole in the sequences, with or without the key."""
    for place in range(1, ENTRIES):
        entries = world.entries[: place - 1] + world.entries[place:]
        report = world.check(entries, with_key=with_key)
        assert _kinds(report) == {FindingKind.DELETED}
        assert report.findings[0].sequence == place
        # One that told of a count that was given up takes its excuse along.
        assert report.findings[0].last_sequence == place or world.entries[place - 1].stamp.given_up


@pytest.mark.parametrize("with_key", [True, False])
def test_a_deletion_that_renumbers_the_rest_is_found(world: World, with_key: bool) -> None:
    """Closing the hole does not help: the writer's own count, or the checkpoint, has it."""
    for place in COVERED:
        entries = renumbered(world.entries[: place - 1] + world.entries[place:])
        report = world.check(entries, with_key=with_key)
        assert FindingKind.DELETED in _kinds(report) or FindingKind.TRUNCATED in _kinds(report)
        assert _window(place)[0] <= report.findings[0].sequence
        assert report.findings[0].sequence <= place + 6


@pytest.mark.parametrize("with_key", [True, False])
def test_entries_that_changed_places_are_found(world: World, with_key: bool) -> None:
    """REORDERED, within one checkpoint's span and across several."""
    for first, last in combinations((1, 2, 5, 9, 10, 11, 16, 19, 20, 21, 30, 34), 2):
        entries = list(world.entries)
        entries[first - 1], entries[last - 1] = entries[last - 1], entries[first - 1]
        report = world.check(renumbered(entries), with_key=with_key)
        assert _kinds(report) == {FindingKind.REORDERED}
        assert _window(first)[0] <= report.findings[0].sequence <= last
        assert max(finding.last_sequence for finding in report.findings) >= first


def test_lines_in_another_order_are_found(world: World) -> None:
    """Two lines of the export that changed places are REORDERED, sequences and all."""
    for place in range(1, ENTRIES):
        entries = list(world.entries)
        entries[place - 1], entries[place] = entries[place], entries[place - 1]
        report = world.check(entries)
        assert FindingKind.REORDERED in _kinds(report)
        assert report.findings[0].sequence in {place, place + 1}


@pytest.mark.parametrize("with_key", [True, False])
def test_a_log_that_ends_before_a_checkpoint_is_truncated(world: World, with_key: bool) -> None:
    """Any length below the last checkpoint, none at all too."""
    for length in range(LAST):
        report = world.check(world.entries[:length], with_key=with_key)
        assert _kinds(report) == {FindingKind.TRUNCATED}
        assert (report.findings[0].sequence, report.findings[0].last_sequence) == (length + 1, LAST)


@pytest.mark.parametrize("writer", ["gallery-x", "gallery-a"])
def test_an_entry_that_was_put_in_is_foreign(world: World, writer: str) -> None:
    """A made-up entry under a made-up name, or under a writer's name, at any place, is found at its place."""
    for place in range(1, ENTRIES + 2):
        stamp = replace(world.entries[0].stamp, writer=writer, n=1 if writer == "gallery-x" else 500, mac=bytes(32))
        made_up = StampedEntry(LOG, place, b'{"method":"Verify"}', stamp)
        entries = renumbered([*world.entries[: place - 1], made_up, *world.entries[place - 1 :]])
        report = world.check(entries)
        assert (report.findings[0].kind, report.findings[0].sequence) == (FindingKind.FOREIGN, place)
        assert _kinds(report) == {FindingKind.FOREIGN}


def test_an_entry_that_takes_the_next_count_of_a_writer_is_found(world: World) -> None:
    """The forged entry is told, not the right one of the same count behind it."""
    for place in COVERED:
        old = world.entries[place - 1]
        forged = replace(old, entry=b"{}", stamp=replace(old.stamp, mac=bytes(32)))
        report = world.check(renumbered([*world.entries[: place - 1], forged, *world.entries[place - 1 :]]))
        assert (report.findings[0].kind, report.findings[0].sequence) == (FindingKind.FOREIGN, place)


@pytest.mark.parametrize("with_key", [True, False])
def test_a_copy_of_an_entry_is_foreign(world: World, with_key: bool) -> None:
    """A right entry that stands there twice was not put there twice by its writer."""
    for place in range(2, ENTRIES + 2):
        entries = renumbered([*world.entries[: place - 1], world.entries[0], *world.entries[place - 1 :]])
        report = world.check(entries, with_key=with_key)
        assert (report.findings[0].kind, report.findings[0].sequence) == (FindingKind.FOREIGN, place)


def test_an_unknown_writer_before_a_checkpoint_is_found_without_the_key(world: World) -> None:
    """The checkpoints name all who wrote."""
    for place in COVERED:
        stamp = replace(world.entries[0].stamp, writer="gallery-x", n=1, settled=0, given_up=())
        made_up = StampedEntry(LOG, place, b"{}", stamp)
        entries = renumbered([*world.entries[: place - 1], made_up, *world.entries[place - 1 :]])
        report = world.check(entries, with_key=False)
        assert (FindingKind.FOREIGN, place) in {(finding.kind, finding.sequence) for finding in report.findings}


def test_who_has_the_audit_key_cannot_rewrite_before_a_checkpoint(world: World) -> None:
    """All MACs are right, and the chain is not that of the checkpoint."""
    for place in COVERED:
        entries = list(world.entries)
        entries[place - 1] = _resigned(entries[place - 1], b'{"method":"Nothing"}')
        report = world.check(entries)
        first, last = _window(place)
        assert [(one.kind, one.sequence, one.last_sequence) for one in report.findings] == [
            (FindingKind.REWRITTEN, first, last)
        ]


def test_a_log_that_was_written_anew_is_found(world: World) -> None:
    """Another log of the same length, under the right key."""
    entries = [_resigned(entry, b"{}") for entry in world.entries]
    report = world.check(entries)
    assert (report.findings[0].kind, report.findings[0].sequence) == (FindingKind.REWRITTEN, 1)


# ---- what cannot be found, so that nobody believes that it can


def test_who_has_the_store_and_the_audit_key_can_change_what_no_checkpoint_has(world: World) -> None:
    """The limit that the documentation states: behind the last checkpoint the audit key is all there is."""
    for place in range(LAST + 1, ENTRIES + 1):
        entries = list(world.entries)
        entries[place - 1] = _resigned(entries[place - 1], b'{"method":"Nothing"}')
        assert world.check(entries).findings == ()


def test_the_end_behind_the_last_checkpoint_can_be_cut_unseen(world: World) -> None:
    """Until the writers write again: then their counts tell."""
    for length in range(LAST, ENTRIES):
        assert world.check(world.entries[:length]).findings == ()


def test_what_was_cut_behind_the_last_checkpoint_is_found_when_its_writers_go_on() -> None:
    """The next entry of the same writer vouches for what is not there."""
    writers = Writers()
    for at in range(6):
        writers.write(at % 2)
    cut = writers.entries[:4]
    writers.entries = list(cut)
    writers.write(0)
    report = verify_audit(LOG, writers.entries, Trail(LOG), [KEY])
    assert FindingKind.DELETED in _kinds(report)


def test_two_writers_order_behind_the_last_checkpoint_is_not_proven() -> None:
    """A MAC does not hold the sequence, which the store gives: only a checkpoint fixes the order between writers."""
    writers = Writers()
    writers.write(0)
    writers.write(1)
    swapped = renumbered(writers.entries[::-1])
    report = verify_audit(LOG, swapped, Trail(LOG), [KEY])
    assert _kinds(report) == {FindingKind.CHECKPOINTS_DAMAGED}  # there are none; nothing else is seen


def test_without_the_key_nothing_behind_the_last_checkpoint_is_proven(world: World) -> None:
    """And the report says that MACs were not checked."""
    entries = list(world.entries)
    entries[-1] = replace(entries[-1], entry=b"{}")
    report = world.check(entries, with_key=False)
    assert (report.findings, report.macs_checked) == ((), False)


# ---- trimming, rotation, other logs


def test_a_log_without_checkpoints_says_so() -> None:
    """They were deleted, or never written: nobody can tell, so it is a finding."""
    report = verify_audit(LOG, honest_log(), Trail(LOG), [KEY])
    assert _kinds(report) == {FindingKind.CHECKPOINTS_DAMAGED}


def test_an_older_audit_key_still_proves(world: World) -> None:
    """Keys rotate: an entry is genuine under any of those that are given."""
    trail = read_trail(LOG, world.content, world.signer.public_keys)
    assert verify_audit(LOG, world.entries, trail, [bytes(32), KEY]).findings == ()
    assert _kinds(verify_audit(LOG, world.entries, trail, [bytes(32)])) <= {FindingKind.EDITED, FindingKind.FOREIGN}


def test_an_entry_of_another_log_is_foreign(world: World) -> None:
    """The name of the log is under the MAC."""
    other = Writers("staff/01")
    other.write(0)
    entries = [*world.entries, replace(other.entries[0], sequence=ENTRIES + 1)]
    assert _kinds(world.check(entries)) == {FindingKind.FOREIGN}
    entries[-1] = replace(entries[-1], log=LOG)
    assert FindingKind.FOREIGN in _kinds(world.check(entries))


def test_forged_ranges_cost_no_memory(world: World) -> None:
    """A stamp that claims 2^62 counts is judged as fast as any."""
    entries = list(world.entries)
    huge = replace(entries[4].stamp, n=2**62, settled=2**62 - 1, given_up=(1, 2**61))
    entries[4] = replace(entries[4], stamp=huge)
    for with_key in (True, False):
        assert world.check(entries, with_key=with_key).findings


def test_findings_name_what_to_look_at(world: World) -> None:
    """One finding for neighbours of one kind, with its first and last sequence."""
    entries = list(world.entries)
    for place in (5, 6, 7):
        entries[place - 1] = replace(entries[place - 1], entry=b"{}")
    (finding,) = world.check(entries).findings
    assert (finding.kind, finding.sequence, finding.last_sequence) == (FindingKind.EDITED, 5, 7)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_no_change_before_the_last_checkpoint_goes_unseen(world: World, data: st.DataObject) -> None:
    """Any subset, order, repetition or edit of the covered entries, other than none, is found, even without the key."""
    covered = world.entries[:LAST]
    picks = data.draw(st.lists(st.integers(0, LAST - 1), max_size=LAST + 3))
    edits = data.draw(st.sets(st.integers(0, LAST - 1), max_size=3))
    entries = [replace(covered[at], entry=b"{}") if at in edits else covered[at] for at in picks]
    renumber = data.draw(st.booleans())
    changed = renumbered(entries) if renumber else entries
    is_same = changed == covered
    for with_key in (True, False):
        assert (world.check([*changed], with_key=with_key).findings == ()) == is_same


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_small_change_before_the_last_checkpoint_goes_unseen(world: World, data: st.DataObject) -> None:
    """The same for one move, one deletion or one copy with all else in place, which is what somebody would do."""
    entries = list(world.entries)
    taken = entries.pop(data.draw(st.integers(0, LAST - 1)))
    if data.draw(st.booleans()):
        entries.insert(data.draw(st.integers(0, LAST - 1)), taken)
    changed = renumbered(entries)
    for with_key in (True, False):
        assert (world.check(changed, with_key=with_key).findings == ()) == (changed == world.entries)
