"""One suite, several stores: what followers read, and the rows of another model."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from gallery_svc.store.change_records import Change, ChangeKind
from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, EpochState, Position
from gallery_svc.store.protocol import Store, shard_of
from gallery_svc.store.subject_records import SubjectProfile
from tessera.domain.errors import InvalidInputError, NotFoundError
from tessera.domain.ids import CollectionId, SubjectId
from tests.congruence.store_world import (
    ADA,
    BOB,
    BOTH_EPOCHS,
    MODEL,
    NEXT_MODEL,
    PROFILE,
    STAFF,
    changes_so_far,
    collection,
    deletion,
    enrollment,
    erasure,
    names_in_shard,
    next_row,
    present,
    rows_of,
    template,
    update,
)


async def _position(store: Store, shard: int) -> Position:
    return (await store.heads([STAFF]))[STAFF].positions[shard]


async def _followed(store: Store, shard: int, start: Position) -> list[Change]:
    changes = await store.changes_after(STAFF, shard, start, 100)
    assert changes is not None
    return changes


async def test_changes_come_in_order_with_their_rows(staffed: Store, shards: int) -> None:
    """From any position on; each with the subject as it is now, and with nobody where it was erased since."""
    first, second = (SubjectId(name) for name in names_in_shard(shards - 1, shards, 2))
    start = await _position(staffed, shards - 1)
    await staffed.enroll(enrollment(template("t1", [0.6, 0.8]), subject_id=first))
    await staffed.enroll(enrollment(template("t2"), subject_id=second))
    await staffed.enroll(enrollment(template("t3"), subject_id=second))
    await staffed.update_profile(replace(update(SubjectProfile(), "labels"), subject_id=second))
    await staffed.delete_template(replace(deletion("t2"), subject_id=second))
    await staffed.erase(erasure(subject_id=first))
    changes = await _followed(staffed, shards - 1, start)
    assert [(change.position.sequence, change.kind, change.subject_id) for change in changes] == [
        (1, ChangeKind.ENROLLED, first),
        (2, ChangeKind.ENROLLED, second),
        (3, ChangeKind.ENROLLED, second),
        (4, ChangeKind.UPDATED, second),
        (5, ChangeKind.TEMPLATE_DELETED, second),
        (6, ChangeKind.ERASED, first),
    ]
    assert changes[0].row is None
    assert changes[5].row is None
    for change in changes[1:5]:
        assert change.row is not None
        assert [each.template_id for each in change.row.templates] == ["t3"]
        assert change.row.profile == replace(PROFILE, labels=()).searched
        np.testing.assert_array_equal(change.row.templates[0].vector, np.float16([1, 0, 0, 0]))
    assert changes[-1].position == await _position(staffed, shards - 1)
    limited = await staffed.changes_after(STAFF, shards - 1, changes[0].position, 2)
    assert limited is not None
    assert [change.position for change in limited] == [changes[1].position, changes[2].position]
    assert await _followed(staffed, shards - 1, changes[-1].position) == []


async def test_a_position_of_another_history_is_not_followed(staffed: Store, shards: int) -> None:
    """Ahead of the log, or with another chain: the follower must load again."""
    await staffed.enroll(enrollment(template("t1")))
    await staffed.enroll(enrollment(template("t2")))
    shard = shard_of(ADA, shards)
    here = await _position(staffed, shard)
    for strange in (Position(3, here.chain), Position(2, "other"), Position(1, "other"), Position(0, "other")):
        assert await staffed.changes_after(STAFF, shard, strange, 10) is None
    assert await staffed.changes_after(STAFF, shards, here, 10) is None
    assert await staffed.changes_after(CollectionId("none"), 0, here, 10) is None


async def test_a_trimmed_log_cannot_be_followed_from_before(staffed: Store, shards: int) -> None:
    """Behind the oldest change that is kept the follower must load again; at it or later it goes on."""
    shard = shard_of(ADA, shards)
    start = await _position(staffed, shard)
    for number in range(5):
        await staffed.enroll(enrollment(template(f"t{number}")))
    changes = await _followed(staffed, shard, start)
    await staffed.trim_log(STAFF, shard, 3)
    assert await staffed.changes_after(STAFF, shard, start, 10) is None
    assert await staffed.changes_after(STAFF, shard, changes[1].position, 10) is None
    assert [change.position for change in await _followed(staffed, shard, changes[3].position)] == [changes[4].position]
    await staffed.trim_log(STAFF, shard, 99)
    assert await _followed(staffed, shard, changes[4].position) == []
    await staffed.enroll(enrollment(template("t5")))
    assert [c.position.sequence for c in await _followed(staffed, shard, changes[4].position)] == [6]
    assert await staffed.check(STAFF) == []


async def test_a_load_finds_every_subject(staffed: Store, shards: int) -> None:
    """Each once, in its shard, with its vectors and what a search needs of its profile."""
    vectors = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    await asyncio.gather(
        *(
            staffed.enroll(enrollment(template(f"t{n}", vectors[n].tolist()), subject_id=SubjectId(f"s{n}")))
            for n in range(300)
        )
    )
    loaded: set[str] = set()
    for shard in range(shards):
        async for batch in staffed.load_rows(STAFF, shard, 1):
            assert all(shard_of(subject_id, shards) == shard for subject_id in batch.subject_ids)
            named = zip(batch.profiles, batch.display_names, strict=True)
            assert {replace(profile, display_name=name) for profile, name in named} == {PROFILE.searched}
            assert (batch.counts, batch.vectors.dtype) == ([1] * len(batch.subject_ids), np.float16)
            for subject_id, vector in zip(batch.subject_ids, batch.vectors, strict=True):
                np.testing.assert_array_equal(vector, vectors[int(subject_id[1:])].astype(np.float16))
                loaded.add(subject_id)
    assert len(loaded) == 300


async def test_nothing_is_loaded_of_what_is_not_there(staffed: Store, shards: int) -> None:
    """An empty shard gives nothing; a shard or a collection that there is not is an error."""
    assert await rows_of(staffed, shards) == {}
    assert await rows_of(staffed, shards, epoch=7) == {}
    with pytest.raises(InvalidInputError, match="shard"):
        _ = [batch async for batch in staffed.load_rows(STAFF, shards, 1)]
    with pytest.raises(NotFoundError):
        _ = [batch async for batch in staffed.load_rows(CollectionId("none"), 0, 1)]


# ---- another model


async def _shadowed(store: Store) -> CollectionRecord:
    found = await store.find_collection(STAFF)
    assert found is not None
    return await store.update_collection(replace(found, epochs=BOTH_EPOCHS), found.revision)


async def _cut_over(store: Store, record: CollectionRecord) -> CollectionRecord:
    epochs = (EpochRecord(1, MODEL, EpochState.RETIRED), EpochRecord(2, NEXT_MODEL, EpochState.ACTIVE))
    after = replace(record, epochs=epochs, active_epoch=2, model_id=NEXT_MODEL)
    return await store.update_collection(after, record.revision)


async def test_rows_of_another_epoch_are_built_beside(staffed: Store, shards: int) -> None:
    """Searches and followers see nothing of them until the record says so, and then all of them at once."""
    for subject_id in (ADA, BOB):
        await staffed.enroll(enrollment(template("t1"), subject_id=subject_id))
    record = await _shadowed(staffed)
    for subject_id in (ADA, BOB):
        assert await staffed.put_row(STAFF, 2, next_row("t1", subject_id=subject_id), 1)
    assert (await rows_of(staffed, shards))[ADA] == (["t1"], [[1.0, 0.0, 0.0, 0.0]], "Ada")
    assert (await rows_of(staffed, shards, 2))[ADA] == (["t1"], [[0.0, 0.6, 0.8]], "Ada")
    assert await changes_so_far(staffed) == 2
    await _cut_over(staffed, record)
    start = Position(0, record.generation)
    (change,) = (
        await _followed(staffed, shard_of(ADA, shards), start)
        if shards > 1
        else [each for each in await _followed(staffed, 0, start) if each.subject_id == ADA]
    )
    assert change.row is not None
    np.testing.assert_array_equal(change.row.templates[0].vector, np.float16([0.0, 0.6, 0.8]))
    assert await staffed.check(STAFF) == []


async def test_a_row_of_an_older_state_is_not_written(staffed: Store, shards: int) -> None:
    """The subject changed since, or went: the caller is told, and looks again."""
    await staffed.enroll(enrollment(template("t1")))
    await _shadowed(staffed)
    assert await staffed.put_row(STAFF, 2, next_row("t1"), 1)
    await staffed.enroll(enrollment(template("t2")))
    assert not await staffed.put_row(STAFF, 2, next_row("t1", "t2"), 1)
    assert (await rows_of(staffed, shards, 2))[ADA][0] == ["t1"]
    assert await staffed.put_row(STAFF, 2, next_row("t1", "t2"), 2)
    assert (await rows_of(staffed, shards, 2))[ADA][0] == ["t1", "t2"]
    await staffed.erase(erasure())
    assert not await staffed.put_row(STAFF, 2, next_row("t1"), 2)
    assert await rows_of(staffed, shards, 2) == {}
    assert await staffed.check(STAFF) == []


async def test_changes_of_a_subject_reach_its_rows_of_every_epoch(staffed: Store, shards: int) -> None:
    """Its name changes in all of them, a deleted template goes from all of them, and what is empty then goes."""
    await staffed.enroll(enrollment(template("t1"), template("t2")))
    await _shadowed(staffed)
    assert await staffed.put_row(STAFF, 2, next_row("t1"), 1)
    await staffed.update_profile(update(SubjectProfile(display_name="Countess"), "display_name"))
    assert (await rows_of(staffed, shards, 2))[ADA] == (["t1"], [[0.0, 0.6, 0.8]], "Countess")
    await staffed.enroll(replace(enrollment(template("t3")), profile=SubjectProfile(display_name="Ada L.")))
    assert (await rows_of(staffed, shards, 2))[ADA] == (["t1"], [[0.0, 0.6, 0.8]], "Ada L.")
    await staffed.delete_template(deletion("t1"))
    assert await rows_of(staffed, shards, 2) == {}
    assert (await rows_of(staffed, shards))[ADA][0] == ["t2", "t3"]
    assert await staffed.check(STAFF) == []


async def test_an_enrolment_after_the_change_keeps_the_old_epochs_row(staffed: Store, shards: int) -> None:
    """So that the change can be taken back; and there the subject is as it was before."""
    await staffed.enroll(enrollment(template("t1")))
    shadowed = await _shadowed(staffed)
    assert await staffed.put_row(STAFF, 2, next_row("t1"), 1)
    active = await _cut_over(staffed, shadowed)
    await staffed.enroll(enrollment(template("t2", [0, 1, 0], NEXT_MODEL)))
    await staffed.enroll(enrollment(template("t9", [0, 1, 0], NEXT_MODEL), subject_id=BOB))
    assert (await rows_of(staffed, shards, 2))[ADA] == (["t1", "t2"], [[0.0, 0.6, 0.8], [0.0, 1.0, 0.0]], "Ada")
    assert set(await rows_of(staffed, shards, 1)) == {ADA}
    back = replace(active, epochs=BOTH_EPOCHS, active_epoch=1, model_id=MODEL)
    await staffed.update_collection(back, active.revision)
    await staffed.enroll(enrollment(template("t4")))
    assert (await rows_of(staffed, shards, 1))[ADA][0] == ["t1", "t4"]
    assert [each.template_id for each in (await present(staffed)).templates] == ["t1", "t2", "t4"]
    assert await staffed.check(STAFF) == []


async def test_a_dropped_epoch_is_gone(staffed: Store, shards: int) -> None:
    """Its rows go from every shard, and the active one cannot be dropped."""
    for name in ("a", "b", "c"):
        await staffed.enroll(enrollment(template("t1"), subject_id=SubjectId(name)))
    await _shadowed(staffed)
    for name in ("a", "b", "c"):
        assert await staffed.put_row(STAFF, 2, next_row("t1", subject_id=SubjectId(name)), 1)
    await staffed.drop_epoch(STAFF, 2)
    await staffed.drop_epoch(STAFF, 2)
    assert await rows_of(staffed, shards, 2) == {}
    assert set(await rows_of(staffed, shards)) == {"a", "b", "c"}
    assert await staffed.check(STAFF) == []
    with pytest.raises(InvalidInputError, match="epoch"):
        await staffed.drop_epoch(STAFF, 1)
    with pytest.raises(NotFoundError):
        await staffed.drop_epoch(CollectionId("none"), 2)


async def test_the_active_epoch_is_not_written_behind_the_log(staffed: Store, shards: int) -> None:
    """Nor one that the collection does not have: not even by whoever read the record before it changed."""
    await staffed.enroll(enrollment(template("t1")))
    with pytest.raises(InvalidInputError, match="epoch"):
        await staffed.put_row(STAFF, 2, next_row("t1"), 1)
    record = await _shadowed(staffed)
    assert await staffed.put_row(STAFF, 2, next_row("t1"), 1)
    await _cut_over(staffed, record)
    with pytest.raises(InvalidInputError, match="epoch"):
        await staffed.put_row(STAFF, 2, next_row("t1"), 1)
    with pytest.raises(NotFoundError):
        await staffed.put_row(CollectionId("none"), 2, next_row("t1"), 1)


async def test_loads_of_another_collection_do_not_mix(staffed: Store, shards: int) -> None:
    """Two collections with the same subject ids keep to themselves."""
    other = CollectionId("visitors")
    await staffed.create_collection(collection(other, shards))
    await staffed.enroll(replace(enrollment(template("t1")), collection_id=other))
    assert await rows_of(staffed, shards) == {}
    assert (await staffed.heads([STAFF, other]))[other].subject_count == 1
