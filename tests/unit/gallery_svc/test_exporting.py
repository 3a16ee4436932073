"""Collections out and in again, over each store: what comes back, what stays out, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

from gallery_svc.collections import DEFAULT_COLLECTION
from gallery_svc.export_file import ExportReader
from gallery_svc.exporting import EXPORTS_AT_ONCE, ExportRequest
from gallery_svc.importing import IMPORTS_AT_ONCE, ImportPart, ImportTarget
from gallery_svc.store import codec
from gallery_svc.store.audit_records import AuditRecord
from gallery_svc.store.collection_records import CollectionRecord, EpochRecord, EpochState
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.memory import MemoryStore
from gallery_svc.store.protocol import Store, audit_log
from gallery_svc.store.subject_records import SubjectProfile
from gallery_svc.store.write_records import TemplateDeletion
from tessera.domain.embedding import Modality
from tessera.domain.errors import (
    InvalidInputError,
    KeyMissingError,
    ModelMismatchError,
    NoCalibrationError,
    NotFoundError,
    OverloadedError,
    RevisionChangedError,
    UnavailableError,
)
from tessera.domain.ids import CollectionId, ModelId, SubjectId
from tests.upkeep_world import (
    AT,
    COPY,
    NEW_KEY,
    OLD_KEY,
    STAFF,
    Upkeep,
    audit,
    pieces,
    redis_store,
    row_of,
    staff,
    template,
    without,
)
from tests.valkey import PrivateServer, running_server

OTHER_MODEL = ModelId("face-notes-2@0123456789ab")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One real server for the whole file."""
    with running_server(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture(params=["memory", "valkey"])
async def upkeep(request: pytest.FixtureRequest, server: PrivateServer) -> AsyncIterator[Upkeep]:
    """The parts over each store, with an empty collection of four shards."""
    store: Store
    if request.param == "memory":
        store = MemoryStore()
    else:
        with Redis(port=server.port, protocol=2) as client:
            client.flushall()
        store = redis_store(server.url)
    await store.prepare()
    await store.create_collection(staff())
    yield Upkeep(store, Keyring((OLD_KEY, NEW_KEY)))
    await store.close()


async def people(upkeep: Upkeep, count: int = 7) -> None:
    """Some with one template, some with two and a picture."""
    for number in range(count):
        some = [template(f"t{number}", number, b"picture %d" % number)]
        some += [template(f"t{number}b", number + 1)] if number % 2 else []
        await upkeep.enroll(f"p{number}", *some)


async def test_an_import_gives_everybody_back(upkeep: Upkeep) -> None:
    """Ids, times, quality, profiles and vectors are the same bit for bit; only the revision begins anew."""
    await people(upkeep)
    summary = await upkeep.imported(await upkeep.exported())
    assert (summary.subjects, summary.templates, summary.written, summary.left_out) == (7, 10, 7, 0)
    changed = ("collection_id", "updated_at", "revision")
    assert without(await upkeep.everybody(COPY), *changed) == without(await upkeep.everybody(STAFF), *changed)
    assert await upkeep.vectors(COPY) == await upkeep.vectors(STAFF)


async def test_a_collection_that_is_missing_is_made_like_the_files(upkeep: Upkeep) -> None:
    """Name, rates, labels, shards and the choice of pictures are the file's; generation and time are its own."""
    await people(upkeep, 1)
    await upkeep.imported(await upkeep.exported())
    one, two = await upkeep.store.find_collection(STAFF), await upkeep.store.find_collection(COPY)
    assert one is not None
    assert two is not None
    same = replace(two, collection_id=STAFF, created_at=one.created_at, generation=one.generation, request_id="")
    assert same == one
    assert two.generation != one.generation


async def test_pictures_go_with_the_file_when_they_are_asked_for(upkeep: Upkeep) -> None:
    """With pictures the copy has them, without it has none."""
    await people(upkeep, 2)
    await upkeep.imported(await upkeep.exported(with_pictures=True))
    await upkeep.imported(await upkeep.exported(), CollectionId("bare"))
    ids = SubjectId("p1"), template("t1", 1).record.template_id
    assert await upkeep.store.find_picture(COPY, *ids) == b"picture 1"
    assert await upkeep.store.find_picture(CollectionId("bare"), *ids) is None


async def test_the_same_file_again_writes_nothing(upkeep: Upkeep) -> None:
    """The second import replays: the positions stand still, and it tells the same counts."""
    await people(upkeep)
    content = await upkeep.exported()
    first = await upkeep.imported(content)
    heads = await upkeep.store.heads([COPY])
    second = await upkeep.imported(content)
    assert (second.subjects, second.templates, second.position) == (first.subjects, first.templates, first.position)
    assert (first.replayed, second.replayed) == (False, True)
    after = await upkeep.store.heads([COPY])
    assert [one.sequence for one in after[COPY].positions] == [one.sequence for one in heads[COPY].positions]


async def test_into_its_own_collection_nothing_is_doubled(upkeep: Upkeep) -> None:
    """Who is there keeps what is said of them; only a template that they lack is added."""
    await people(upkeep, 2)
    content = await upkeep.exported()
    await upkeep.erase("p0")
    await upkeep.enroll("p0", template("t0", 0))
    await upkeep.erase("p1")
    await upkeep.enroll("p1", template("other", 5))
    summary = await upkeep.imported(content, STAFF)
    found = {one.subject_id: [each.template_id for each in one.templates] for one in await upkeep.everybody(STAFF)}
    assert found == {"p0": ["t0"], "p1": ["other", "t1", "t1b"]}
    assert (summary.subjects, summary.written) == (2, 1)


async def test_a_broken_import_goes_on(upkeep: Upkeep) -> None:
    """The store goes away in the middle; the same file again has everybody there once."""
    await people(upkeep)
    content = await upkeep.exported()
    write, writes = upkeep.store.enroll, 0

    async def breaking(enrollment: object) -> object:
        nonlocal writes
        writes += 1
        if writes > 3:
            raise UnavailableError("store")
        return await write(enrollment)

    upkeep.store.enroll = breaking
    with pytest.raises(UnavailableError):
        await upkeep.imported(content)
    upkeep.store.enroll = write
    assert 0 < len(await upkeep.everybody(COPY)) < 7
    summary = await upkeep.imported(content)
    assert (summary.subjects, summary.written) == (7, 4)
    assert await upkeep.vectors(COPY) == await upkeep.vectors(STAFF)


async def test_nobody_who_was_erased_comes_back(upkeep: Upkeep) -> None:
    """An erasure after the enrolment keeps them out; one before it, of an earlier enrolment, does not."""
    await people(upkeep, 3)
    content = await upkeep.exported()
    erased = {SubjectId("p0"): AT + timedelta(days=1), SubjectId("p1"): AT - timedelta(days=1), SubjectId("x"): AT}
    summary = await upkeep.imported(content, erased=erased)
    assert [one.subject_id for one in await upkeep.everybody(COPY)] == ["p1", "p2"]
    assert (summary.subjects, summary.left_out) == (2, 1)


async def test_who_was_erased_after_an_import_stays_erased_when_it_comes_again(upkeep: Upkeep) -> None:
    """A retry of the file is no new enrolment."""
    await people(upkeep, 2)
    content = await upkeep.exported()
    await upkeep.imported(content)
    await upkeep.erase("p1", COPY)
    summary = await upkeep.imported(content)
    assert [one.subject_id for one in await upkeep.everybody(COPY)] == ["p0"]
    assert summary.left_out == 1


async def test_templates_without_a_vector_of_the_active_model_stay_out(upkeep: Upkeep) -> None:
    """After a re-embedding that lost some, the file has the others, as the new model's."""
    await people(upkeep, 2)
    epochs = (EpochRecord(1, staff().model_id, EpochState.RETIRED), EpochRecord(2, OTHER_MODEL, EpochState.SHADOW))
    record = await upkeep.store.find_collection(STAFF)
    assert record is not None
    record = await upkeep.store.update_collection(replace(record, epochs=epochs), record.revision)
    ada = await upkeep.store.find_subject(STAFF, SubjectId("p1"))
    assert ada is not None
    await upkeep.store.put_row(STAFF, 2, row_of(ada, [template("t1b", 9)]), ada.revision)
    active = replace(record, active_epoch=2, model_id=OTHER_MODEL)
    await upkeep.store.update_collection(active, record.revision)

    reader = ExportReader(lambda _: Keyring((OLD_KEY,)).derived("export"))
    (subject,) = reader.feed(await upkeep.exported())
    assert (subject.record.subject_id, [one.template_id for one in subject.record.templates]) == ("p1", ["t1b"])
    assert subject.record.templates[0].model_id == reader.finish().header.model_id == OTHER_MODEL
    assert np.array_equal(subject.vectors, [template("t1b", 9).vector])


async def test_another_model_while_it_is_read_ends_the_export(upkeep: Upkeep) -> None:
    """Its last frame is never written, so that nobody takes what there is for all."""
    await people(upkeep, 2)
    parts = upkeep.exporter.export(ExportRequest(STAFF))
    content = await anext(parts)
    record = await upkeep.store.find_collection(STAFF)
    assert record is not None
    await upkeep.store.update_collection(replace(record, active_epoch=2, model_id=OTHER_MODEL), record.revision)
    with pytest.raises(RevisionChangedError):
        content += b"".join([part async for part in parts])
    with pytest.raises(InvalidInputError, match="before its last frame is whole"):
        await upkeep.imported(content)


async def test_a_file_of_another_model_is_refused_before_it_is_all_there(upkeep: Upkeep) -> None:
    """MODEL_MISMATCH as soon as the header is proved; a new collection needs a model that can decide."""
    await upkeep.store.create_collection(replace(staff(1, OTHER_MODEL), collection_id=COPY))
    await people(upkeep, 1)
    content = await upkeep.exported()
    with pytest.raises(ModelMismatchError):
        await upkeep.imported(content[:-10])
    with pytest.raises(NoCalibrationError):
        await upkeep.imported(await upkeep.exported(COPY), CollectionId("new"))


@pytest.mark.parametrize("at", [10, 200, -300, -20])
async def test_a_damaged_file_writes_nothing(upkeep: Upkeep, at: int) -> None:
    """One byte is another: told as the caller's, and nobody of it is enrolled, and no collection made."""
    await people(upkeep, 3)
    content = bytearray(await upkeep.exported())
    content[at] ^= 1
    with pytest.raises(InvalidInputError):
        await upkeep.imported(bytes(content))
    assert await upkeep.store.find_collection(COPY) is None


async def test_a_file_that_is_cut_writes_nothing(upkeep: Upkeep) -> None:
    """Also when all frames with subjects are there."""
    await people(upkeep, 3)
    content = await upkeep.exported()
    for end in (0, len(content) - 1, len(content) - 100):
        with pytest.raises(InvalidInputError):
            await upkeep.imported(content[:end])
    assert await upkeep.store.find_collection(COPY) is None


async def test_parts_out_of_order_and_files_too_large_are_refused(upkeep: Upkeep) -> None:
    """Each names its field."""
    content = await upkeep.exported()
    parts = [part async for part in pieces(content, 100, {})]

    async def swapped() -> AsyncIterator[ImportPart]:
        for at in (0, 2, 1):
            yield parts[at]

    with pytest.raises(InvalidInputError, match="offset: got 200; allowed: 100"):
        await upkeep.importer.import_file(ImportTarget(COPY), swapped())
    upkeep.importer._max_bytes = len(content) - 1
    with pytest.raises(InvalidInputError, match="a file of at most"):
        await upkeep.imported(content)


async def test_a_file_names_its_key(upkeep: Upkeep) -> None:
    """It opens with any key of the ring, not with one that is not there, and not when another was named."""
    await people(upkeep, 1)
    request = ExportRequest(STAFF, key_id="new")
    content = b"".join([part async for part in upkeep.exporter.export(request)])
    with pytest.raises(KeyMissingError, match="new"):
        await Upkeep(upkeep.store, Keyring((OLD_KEY,))).imported(content)
    with pytest.raises(InvalidInputError, match="key_id: got 'old'; allowed: new"):
        await upkeep.importer.import_file(ImportTarget(COPY, key_id="old"), pieces(content, 1000, {}))
    assert (await upkeep.imported(content)).subjects == 1
    with pytest.raises(InvalidInputError, match="allowed: old, new"):
        await anext(upkeep.exporter.export(ExportRequest(STAFF, key_id="none")))


async def test_both_ways_are_on_record(upkeep: Upkeep) -> None:
    """The export before its first byte, and each subject of the import."""
    await people(upkeep, 2)
    first = await anext(upkeep.exporter.export(ExportRequest(STAFF, caller="ann")))
    assert first.startswith(b"TSRX1")
    entries = await upkeep.store.audit_after(audit_log(STAFF, 0), 0, 100)
    last = codec.load(AuditRecord, entries[-1].entry, "entry")
    assert (last.method, last.caller, last.collection_id) == ("ExportCollection", "ann", STAFF)
    await upkeep.imported(await upkeep.exported())
    methods = [
        codec.load(AuditRecord, each.entry, "entry").method
        for shard in range(4)
        for each in await upkeep.store.audit_after(audit_log(COPY, shard), 0, 100)
    ]
    assert methods == ["ImportCollection"] * 2


async def test_an_empty_collection_has_a_file_too(upkeep: Upkeep) -> None:
    """It makes an empty collection."""
    summary = await upkeep.imported(await upkeep.exported())
    assert (summary.subjects, summary.position) == (0, 0)
    assert await upkeep.store.find_collection(COPY) is not None


async def test_no_more_than_two_of_each_run_at_once(upkeep: Upkeep) -> None:
    """The third is refused, and there is room again when one ends."""
    running = [upkeep.exporter.export(ExportRequest(STAFF)) for _ in range(EXPORTS_AT_ONCE)]
    for each in running:
        await anext(each)
    with pytest.raises(OverloadedError):
        await upkeep.exported()
    await running[0].aclose()
    content = await upkeep.exported()
    await running[1].aclose()
    upkeep.importer._running = IMPORTS_AT_ONCE
    with pytest.raises(OverloadedError):
        await upkeep.imported(content)


async def test_a_collection_that_is_not_there_is_told(upkeep: Upkeep) -> None:
    """No byte is made of it."""
    with pytest.raises(NotFoundError):
        await upkeep.exported(CollectionId("nobody"))


async def test_who_is_enrolled_and_erased_meanwhile_is_whole_or_away(upkeep: Upkeep) -> None:
    """Each who was there at the start and still is, is in the file with what they had; who was erased is not."""
    await people(upkeep)
    parts = upkeep.exporter.export(ExportRequest(STAFF))
    content = await anext(parts)
    await upkeep.erase("p2")
    await upkeep.enroll("p3", template("t3c", 4))
    await upkeep.enroll("late", template("late", 4))
    content += b"".join([part async for part in parts])
    await upkeep.imported(content)
    found = {one.subject_id: {each.template_id for each in one.templates} for one in await upkeep.everybody(COPY)}
    assert {f"p{number}" for number in (0, 1, 3, 4, 5, 6)} <= found.keys()
    assert "p2" not in found
    assert {"t3", "t3b"} <= found["p3"]


async def test_the_spooled_file_has_no_name(upkeep: Upkeep, tmp_path: Path) -> None:
    """It lies in the folder that was set, and nobody can open it there."""
    upkeep.importer._folder = tmp_path
    content = await upkeep.exported()
    seen: list[list[Path]] = []

    def look() -> None:
        seen.append(list(tmp_path.iterdir()))

    async def watched() -> AsyncIterator[ImportPart]:
        async for part in pieces(content, 100, {}):
            yield part
            look()

    await upkeep.importer.import_file(ImportTarget(COPY), watched())
    assert len(seen) > 1
    assert not any(seen)


async def test_a_profile_is_not_put_back(upkeep: Upkeep) -> None:
    """Who is there keeps the name that they have now."""
    await people(upkeep, 1)
    content = await upkeep.exported()
    await upkeep.erase("p0")
    await upkeep.enroll("p0", template("else", 5))
    ada = await upkeep.store.find_subject(STAFF, SubjectId("p0"))
    await upkeep.imported(content, STAFF)
    after = await upkeep.store.find_subject(STAFF, SubjectId("p0"))
    assert ada is not None
    assert after is not None
    assert after.profile == ada.profile != SubjectProfile()


async def test_the_default_collection_that_nobody_used_makes_room(upkeep: Upkeep) -> None:
    """As every gallery makes it, of any model, it becomes what the file has; one that was used is as any other."""
    await people(upkeep, 2)
    content = await upkeep.exported()
    fresh = CollectionRecord(DEFAULT_COLLECTION, Modality.FACE, OTHER_MODEL, AT)
    await upkeep.store.create_collection(fresh)
    assert (await upkeep.imported(content, DEFAULT_COLLECTION)).written == 2
    made = await upkeep.store.find_collection(DEFAULT_COLLECTION)
    assert made is not None
    assert (made.model_id, made.shards, made.labels) == (staff().model_id, 4, {"site": "b"})
    assert (await upkeep.imported(content, DEFAULT_COLLECTION)).replayed

    await upkeep.store.delete_collection(DEFAULT_COLLECTION, audit("D", DEFAULT_COLLECTION, "x"), force=True)
    await upkeep.store.create_collection(fresh)
    changed = await upkeep.store.find_collection(DEFAULT_COLLECTION)
    assert changed is not None
    await upkeep.store.update_collection(replace(changed, display_name="Mine"), changed.revision)
    with pytest.raises(ModelMismatchError):
        await upkeep.imported(content, DEFAULT_COLLECTION)


async def test_the_same_file_twice_at_once_doubles_nothing(upkeep: Upkeep) -> None:
    """Both write with the same request ids: one of them, whichever, finds what the other wrote."""
    await people(upkeep, 20)
    await upkeep.store.create_collection(replace(staff(), collection_id=COPY))
    content = await upkeep.exported()
    both = await asyncio.gather(upkeep.imported(content), upkeep.imported(content))
    assert sum(one.written for one in both) == 20
    head = (await upkeep.store.heads([COPY]))[COPY]
    assert sum(position.sequence for position in head.positions) == 20
    assert await upkeep.vectors(COPY) == await upkeep.vectors(STAFF)


async def test_a_template_that_was_deleted_since_does_not_come_back(upkeep: Upkeep) -> None:
    """Retrying a file is no new enrolment of its templates either."""
    await people(upkeep, 2)
    content = await upkeep.exported()
    await upkeep.imported(content)
    name, gone = SubjectId("p1"), template("t1", 1).record.template_id
    await upkeep.store.delete_template(TemplateDeletion(COPY, name, gone, AT, audit("DeleteTemplate", COPY, name)))
    assert (await upkeep.imported(content)).written == 0
    after = await upkeep.store.find_subject(COPY, name)
    assert after is not None
    assert [one.template_id for one in after.templates] == ["t1b"]
