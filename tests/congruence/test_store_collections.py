"""One suite, several stores: collections, their records and their heads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, EpochState, GateRecord, PolicyRecord
from gallery_svc.store.protocol import Store, audit_log, shard_of
from tessera.domain.embedding import Modality
from tessera.domain.errors import (
    AlreadyExistsError,
    InvalidInputError,
    ModelMismatchError,
    NotEmptyError,
    NotFoundError,
    RevisionChangedError,
)
from tessera.domain.ids import CollectionId
from tests.congruence.store_world import (
    ADA,
    AT,
    BOB,
    BOTH_EPOCHS,
    MODEL,
    NEXT_MODEL,
    STAFF,
    audit,
    audited_everywhere,
    changes_so_far,
    collection,
    enrollment,
    request,
    template,
)


async def test_a_collection_comes_back_as_it_went_in(store: Store) -> None:
    """Every field survives, the unset ones too, with a generation of its own; a second one of the id is refused."""
    record = CollectionRecord(
        collection_id=STAFF,
        modality=Modality.PERSON,
        model_id=MODEL,
        created_at=AT,
        display_name="Über uns",
        policy=PolicyRecord(1e-3, 0.05, 500, 3),
        gate=GateRecord(min_pose=0.5),
        labels={"site": "north"},
        request_id="r-1",
        shards=3,
        keep_source_images=True,
        epochs=BOTH_EPOCHS,
    )
    await store.create_collection(record)
    found = await store.find_collection(STAFF)
    assert found is not None
    assert found.generation
    assert found == replace(record, generation=found.generation)
    assert await store.list_collections() == (found,)
    with pytest.raises(AlreadyExistsError):
        await store.create_collection(record)
    assert await store.find_collection(STAFF) == found


async def test_collections_are_listed_by_id(store: Store) -> None:
    """In the order of their ids, whatever the order of their making."""
    for name in ("b", "a", "c"):
        await store.create_collection(collection(CollectionId(name)))
    assert [record.collection_id for record in await store.list_collections()] == ["a", "b", "c"]


@pytest.mark.parametrize("shards", [0, 65])
async def test_a_collection_has_one_to_64_parts(store: Store, shards: int) -> None:
    """Any other number is refused, and nothing is made."""
    with pytest.raises(InvalidInputError, match="1 to 64"):
        await store.create_collection(collection(shards=shards))
    assert await store.list_collections() == ()


async def test_a_new_collection_stands_at_the_beginning(staffed: Store, shards: int) -> None:
    """Each shard has its position, and there is nobody in it; a collection that is not there has no head."""
    heads = await staffed.heads([STAFF, CollectionId("none")])
    assert set(heads) == {STAFF}
    assert [position.sequence for position in heads[STAFF].positions] == [0] * shards
    assert (heads[STAFF].subject_count, heads[STAFF].template_count) == (0, 0)
    found = await staffed.find_collection(STAFF)
    assert found is not None
    assert heads[STAFF].generation == found.generation


async def test_a_collection_with_subjects_goes_only_by_force(staffed: Store, shards: int) -> None:
    """Without force it is refused and nothing is lost; with it the number of subjects is told; the audit logs stay."""
    await staffed.enroll(enrollment(template("t1")))
    await staffed.enroll(enrollment(template("t2"), subject_id=BOB))
    with pytest.raises(NotEmptyError) as refused:
        await staffed.delete_collection(STAFF, audit("DeleteCollection"), force=False)
    assert refused.value.count == 2
    assert await staffed.find_subject(STAFF, ADA) is not None
    assert not (await staffed.enroll(enrollment(template("t3")))).replayed
    assert await staffed.delete_collection(STAFF, audit("DeleteCollection"), force=True) == 2
    assert await staffed.find_collection(STAFF) is None
    assert await staffed.find_subject(STAFF, ADA) is None
    assert await staffed.heads([STAFF]) == {}
    assert sorted(await audited_everywhere(staffed, shards)) == ["DeleteCollection"] + ["EnrollSubject"] * 3
    with pytest.raises(NotFoundError):
        await staffed.delete_collection(STAFF, audit("DeleteCollection"), force=True)


async def test_an_empty_collection_goes_without_force(staffed: Store, shards: int) -> None:
    """And nothing of it is left to be listed or written to."""
    assert await staffed.delete_collection(STAFF, audit("DeleteCollection"), force=False) == 0
    assert await staffed.list_collections() == ()
    with pytest.raises(NotFoundError):
        await staffed.enroll(enrollment(template("t1")))
    assert await staffed.audit_logs() == [audit_log(STAFF, 0)]


async def test_a_collection_made_again_has_another_history(staffed: Store, shards: int) -> None:
    """A follower of the first cannot take the second for it, and a request id of the first is free again."""
    await staffed.enroll(enrollment(template("t1"), key=request()))
    shard = shard_of(ADA, shards)
    before = (await staffed.heads([STAFF]))[STAFF]
    await staffed.delete_collection(STAFF, audit("DeleteCollection"), force=True)
    await staffed.create_collection(collection(shards=shards))
    after = (await staffed.heads([STAFF]))[STAFF]
    assert after.generation != before.generation
    assert await staffed.changes_after(STAFF, shard, before.positions[shard], 10) is None
    assert await staffed.find_enrolled(STAFF, request()) is None
    assert not (await staffed.enroll(enrollment(template("t2"), key=request()))).replayed


async def test_a_collections_record_changes_by_its_revision(staffed: Store, shards: int) -> None:
    """What was fixed at its creation stays, and a writer who read an older one is refused with what there is."""
    first = await staffed.find_collection(STAFF)
    assert first is not None
    wanted = replace(first, display_name="All", modality=Modality.SIGNATURE, shards=5, generation="mine")
    second = await staffed.update_collection(wanted, first.revision)
    assert second == replace(first, display_name="All", revision=first.revision + 1)
    assert await staffed.find_collection(STAFF) == second
    with pytest.raises(RevisionChangedError) as refused:
        await staffed.update_collection(replace(first, display_name="Mine"), first.revision)
    assert (refused.value.expected, refused.value.actual) == (first.revision, second.revision)
    assert await staffed.find_collection(STAFF) == second
    with pytest.raises(NotFoundError):
        await staffed.update_collection(collection(CollectionId("none")), 1)


async def test_templates_are_of_the_active_epochs_model(staffed: Store, shards: int) -> None:
    """After the change the old model's templates are refused and the new one's are kept, in every shard."""
    first = await staffed.find_collection(STAFF)
    assert first is not None
    shadowed = await staffed.update_collection(replace(first, epochs=BOTH_EPOCHS), 1)
    with pytest.raises(ModelMismatchError):
        await staffed.enroll(enrollment(template("t1", model_id=NEXT_MODEL)))
    epochs = (EpochRecord(1, MODEL, EpochState.RETIRED), EpochRecord(2, NEXT_MODEL, EpochState.ACTIVE))
    await staffed.update_collection(replace(shadowed, epochs=epochs, active_epoch=2, model_id=NEXT_MODEL), 2)
    for subject_id in (ADA, BOB):
        with pytest.raises(ModelMismatchError):
            await staffed.enroll(enrollment(template("t1"), subject_id=subject_id))
        await staffed.enroll(enrollment(template("t2", model_id=NEXT_MODEL), subject_id=subject_id))
    assert await changes_so_far(staffed) == 2
