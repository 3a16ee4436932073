"""One suite, several stores: looks at persons are written, followed, removed by time, and end with their collection."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from gallery_svc.store.person_records import PersonLook
from gallery_svc.store.protocol import Store
from tessera.domain.errors import NotFoundError
from tessera.domain.ids import CollectionId, TrackletId
from tests.congruence.store_world import AT, LATER, STAFF, audit, collection, look

UNTIL = AT + timedelta(days=36_500)


async def test_looks_come_back_as_they_went_in(staffed: Store) -> None:
    """With every field, in the order in which they were written; a tracklet has one."""
    await staffed.put_look(look("t1"), UNTIL)
    await staffed.put_look(replace(look("t2"), face=None, zones=(), best_shot_id=""), UNTIL)
    await staffed.put_look(look("t1", "person-2", 5.0), UNTIL)
    told = await staffed.looks_after(STAFF, 0, 10)
    assert [name for name, _ in told.looks] == ["t2", "t1"]
    assert (told.head.count, told.head.newest, told.up_to) == (2, 3, 3)
    for _, found in told.looks:
        assert found is not None
        wanted = look("t1", "person-2", 5.0) if found.tracklet_id == "t1" else look("t2")
        if found.tracklet_id == "t2":
            wanted = replace(wanted, face=None, zones=(), best_shot_id="")
        assert found.vector.tobytes() == wanted.vector.tobytes()
        names = [name for name in PersonLook.__dataclass_fields__ if name != "vector"]
        assert [getattr(found, name) for name in names] == [getattr(wanted, name) for name in names]


async def test_looks_are_followed_by_pages(staffed: Store) -> None:
    """Each page says up to where it goes; behind the last there is nothing."""
    for name in ("t1", "t2", "t3"):
        await staffed.put_look(look(name), UNTIL)
    first = await staffed.looks_after(STAFF, 0, 2)
    assert ([name for name, _ in first.looks], first.up_to) == (["t1", "t2"], 2)
    second = await staffed.looks_after(STAFF, first.up_to, 2)
    assert ([name for name, _ in second.looks], second.up_to, second.head.newest) == (["t3"], 3, 3)
    assert (await staffed.looks_after(STAFF, 3, 2)).looks == ()


async def test_looks_are_removed_by_name_and_by_time(staffed: Store) -> None:
    """Those that are not there count 0; a number is never given again."""
    for at, name in enumerate(("t1", "t2", "t3")):
        await staffed.put_look(look(name, seen_s=10.0 * at), UNTIL)
    assert await staffed.drop_looks(STAFF, [TrackletId("t2"), TrackletId("t9")]) == 1
    assert await staffed.drop_looks_seen_before(STAFF, AT + timedelta(seconds=5)) == 1
    assert await staffed.look_ids(STAFF) == {"t3"}
    assert (await staffed.looks_after(STAFF, 0, 10)).head.count == 1
    await staffed.put_look(look("t4", seen_s=30.0), UNTIL)
    assert (await staffed.looks_after(STAFF, 3, 10)).head.newest == 4


async def test_anonymous_ids_are_remembered_until_they_are_forgotten(staffed: Store) -> None:
    """Also when their looks have gone: their sightings are still to be erased."""
    await staffed.put_look(look("t1", "person-1", 0.0), UNTIL)
    await staffed.put_look(look("t2", "person-1", 20.0), UNTIL)
    await staffed.put_look(look("t3", "person-2", 5.0), UNTIL)
    await staffed.drop_looks(STAFF, [TrackletId("t3")])
    moment = AT + timedelta(seconds=10)
    assert await staffed.persons_seen_before(STAFF, moment, 10) == ["person-2"]
    await staffed.forget_person(STAFF, "person-2")
    assert await staffed.persons_seen_before(STAFF, moment, 10) == []
    assert await staffed.persons_seen_before(STAFF, LATER, 10) == ["person-1"]


async def test_looks_end_with_their_collection(staffed: Store) -> None:
    """One of the same name that is made later has none; one that is not there takes none."""
    await staffed.put_look(look("t1"), UNTIL)
    before = (await staffed.looks_after(STAFF, 0, 10)).head.generation
    await staffed.delete_collection(STAFF, audit("DeleteCollection"), force=True)
    with pytest.raises(NotFoundError):
        await staffed.put_look(look("t2"), UNTIL)
    with pytest.raises(NotFoundError):
        await staffed.looks_after(CollectionId("nowhere"), 0, 10)
    await staffed.create_collection(collection())
    told = await staffed.looks_after(STAFF, 0, 10)
    assert (told.looks, told.head.count, told.head.newest) == ((), 0, 0)
    assert told.head.generation != before
