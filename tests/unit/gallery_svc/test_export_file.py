"""The export file: what was written is read, and whatever was done to it on the way is found and told."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gallery_svc.export_file import (
    MAX_CHUNK_BYTES,
    MAX_SUBJECTS_A_FRAME,
    ExportDamagedError,
    ExportedSubject,
    ExportHeader,
    ExportReader,
    ExportSummary,
    stream_export,
    write_export,
)
from gallery_svc.rows import half
from gallery_svc.store.collection_records import CollectionRecord
from gallery_svc.store.subject_records import SubjectProfile, SubjectRecord, TemplateRecord
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError, KeyMissingError
from tessera.domain.ids import CollectionId, ModelId, SubjectId, TemplateId
from tessera.domain.observation import Quality
from tessera.domain.reasons import Reason

KEY = bytes(range(32))
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MODEL = ModelId("face-notes-1@0123456789ab")
DIMENSIONS = 8
COLLECTION = CollectionRecord(CollectionId("staff"), Modality.FACE, MODEL, NOW, shards=2, generation="g1")

HEADER = ExportHeader(
    collection=COLLECTION,
    dimensions=DIMENSIONS,
    positions=(7, 3),
    subjects=2,
    templates=3,
    created=NOW,
    key_id="export-1",
    with_pictures=True,
)

texts = st.text(max_size=12)


def template(number: int, quality: Quality | None = None) -> TemplateRecord:
    """A template's record."""
    return TemplateRecord(TemplateId(f"t{number}"), MODEL, NOW, quality, "ab" * 32)


def subject(
    name: str, templates: int = 1, pictures: tuple[bytes | None, ...] = (), profile: SubjectProfile | None = None
) -> ExportedSubject:
    """A subject whose vectors are its own."""
    random = np.random.default_rng(len(name) + 31 * templates)
    vectors = random.normal(size=(templates, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    record = SubjectRecord(
        subject_id=SubjectId(name),
        collection_id=CollectionId("staff"),
        profile=profile or SubjectProfile(display_name=name.title()),
        templates=tuple(template(number) for number in range(templates)),
        created_at=NOW,
        updated_at=NOW,
        revision=templates,
    )
    return ExportedSubject(record, half(vectors), pictures)


@st.composite
def any_subjects(draw: st.DrawFn) -> ExportedSubject:
    """Subjects of every shape."""
    templates = draw(st.integers(0, 3))
    profile = SubjectProfile(
        display_name=draw(texts),
        external_id=draw(texts),
        labels=tuple(draw(st.lists(texts, max_size=3))),
        metadata=draw(st.dictionaries(texts, texts, max_size=2)),
        valid_from=draw(st.none() | st.just(NOW)),
        camera_ids=tuple(draw(st.lists(st.just("door"), max_size=1))),
    )
    picture = st.none() | st.binary(max_size=20)
    pictures = draw(st.just([]) | st.lists(picture, min_size=templates, max_size=templates))
    quality = Quality(0.9, 0.5, 0.5, 1.0, 0.9, 0.5, (Reason.LOW_SHARPNESS,))
    made = subject(draw(st.from_regex(r"[a-z]{1,8}", fullmatch=True)), templates, tuple(pictures), profile)
    record = replace(made.record, templates=tuple(template(at, quality) for at in range(templates)))
    return replace(made, record=record)


def read(file: bytes, pieces: int = 1 << 20, key_for: Callable[[str], bytes] = lambda _: KEY) -> list[ExportedSubject]:
    """All subjects of a file, fed in pieces of so many bytes, to its end."""
    return read_with_summary(file, pieces, key_for)[0]


def read_with_summary(
    file: bytes, pieces: int = 1 << 20, key_for: Callable[[str], bytes] = lambda _: KEY
) -> tuple[list[ExportedSubject], ExportSummary]:
    """The same, with what the reader says at the end."""
    reader = ExportReader(key_for)
    found: list[ExportedSubject] = []
    for start in range(0, len(file), pieces):
        found += reader.feed(file[start : start + pieces])
    return found, reader.finish()


def same(first: list[ExportedSubject], second: list[ExportedSubject]) -> bool:
    """Whether they are equal, bit for bit."""
    return len(first) == len(second) and all(
        one.record == two.record
        and one.vectors.tobytes() == two.vectors.tobytes()
        and one.vectors.shape == two.vectors.shape
        and one.pictures == two.pictures
        for one, two in zip(first, second, strict=True)
    )


PEOPLE = [subject("ada", 2, (b"\xff\xd8ada", None)), subject("bo"), subject("cy", 0)]


@pytest.fixture(scope="module")
def file() -> bytes:
    """A small file: one frame of subjects and the last one."""
    return b"".join(write_export(HEADER, PEOPLE, KEY))


@pytest.fixture(scope="module")
def many() -> list[ExportedSubject]:
    """Enough for three frames."""
    return [subject(f"s{number:04}") for number in range(2 * MAX_SUBJECTS_A_FRAME + 5)]


def frames_of(file: bytes) -> tuple[bytes, list[bytes]]:
    """What stands before the frames, and each frame, as the format's own description cuts them."""
    (header,) = struct.unpack_from("<I", file, 6)
    at = start = 6 + 4 + header + 12 + 48
    frames = []
    while at < len(file):
        (word,) = struct.unpack_from("<I", file, at)
        length = 4 + (word & 0x7FFFFFFF)
        frames.append(file[at : at + length])
        at += length
    return file[:start], frames


def found_in(file: bytes, written: list[ExportedSubject]) -> ExportDamagedError:
    """What a damaged file is refused with, after nothing but subjects that were written, in their order.

    Raises:
        AssertionError: it was read to its end, or something was given out that was never written there.
    """
    reader = ExportReader(lambda _: KEY)
    given_out: list[ExportedSubject] = []
    try:
        for start in range(0, len(file), 4096):
            given_out += reader.feed(file[start : start + 4096])
        reader.finish()
    except ExportDamagedError as error:
        assert same(given_out, written[: len(given_out)])
        return error
    raise AssertionError("the damage was not found")


# ---- what was written is read


@given(st.lists(any_subjects(), max_size=6), st.integers(1, 700))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_written_is_read(people: list[ExportedSubject], pieces: int) -> None:
    """For any subjects and any cut into pieces the reader gives back the same, in order, with the right counts."""
    found, summary = read_with_summary(b"".join(write_export(HEADER, people, KEY)), pieces)
    assert same(found, people)
    assert summary.header == HEADER
    assert summary.subjects == len(people)
    assert summary.templates == sum(len(one.record.templates) for one in people)
    assert summary.pictures == sum(picture is not None for one in people for picture in one.pictures)


def test_many_subjects_take_several_frames_and_chunks_stay_small(many: list[ExportedSubject]) -> None:
    """A frame has at most 512 subjects, a chunk at most 1 MiB, and what comes out is what went in."""
    chunks = list(write_export(HEADER, many, KEY))
    assert max(map(len, chunks)) <= MAX_CHUNK_BYTES
    assert len(frames_of(b"".join(chunks))[1]) == 4
    assert same(read(b"".join(chunks)), many)


def test_a_large_picture_does_not_share_a_frame() -> None:
    """Pictures close a frame early, so that a reader never holds many of them."""
    large = [subject(name, 1, (bytes(5 << 20),)) for name in ("ada", "bo", "cy")]
    chunks = list(write_export(HEADER, large, KEY))
    assert len(frames_of(b"".join(chunks))[1]) == 4
    assert same(read(b"".join(chunks)), large)


async def test_subjects_that_are_waited_for_make_the_same_file() -> None:
    """`stream_export` writes what `write_export` writes."""

    async def later() -> AsyncIterator[ExportedSubject]:
        for one in PEOPLE:
            yield one

    file = b"".join([chunk async for chunk in stream_export(HEADER, later(), KEY)])
    assert same(read(file), PEOPLE)


def test_the_reader_asks_for_the_key_that_the_file_names(file: bytes) -> None:
    """The key's id goes to `key_for`; what that raises reaches the caller as it is."""
    asked: list[str] = []

    def key_for(key_id: str) -> bytes:
        asked.append(key_id)
        raise KeyMissingError(key_id)

    with pytest.raises(KeyMissingError):
        read(file, key_for=key_for)
    assert asked == ["export-1"]


def test_the_header_is_told_once_it_is_proved(file: bytes) -> None:
    """Before its last byte came there is none; then it is there, before any subject."""
    reader = ExportReader(lambda _: KEY)
    opening, frames = frames_of(file)
    told = []
    for piece in (opening[:-1], opening[-1:], frames[0]):
        found = reader.feed(piece)
        told.append((reader.header, len(found)))
    assert told == [(None, 0), (HEADER, 0), (HEADER, 3)]


def test_a_file_shows_nothing_of_a_subject() -> None:
    """Neither a name, nor an id, nor a vector, nor a picture stands in it in clear."""
    person = subject("ada-lovelace", 1, (b"\xff\xd8 a picture",))
    file = b"".join(write_export(HEADER, [person], KEY))
    for secret in (b"Ada-Lovelace", b"ada-lovelace", person.vectors.tobytes(), b"a picture"):
        assert secret not in file


def test_two_files_of_the_same_people_share_no_frame(file: bytes) -> None:
    """Each file has a key and nonces of its own."""
    again = b"".join(write_export(HEADER, PEOPLE, KEY))
    assert not set(frames_of(file)[1]) & set(frames_of(again)[1])


# ---- damage


def test_every_byte_that_is_changed_is_found(file: bytes) -> None:
    """One flipped bit anywhere, from the first byte to the last, and the reader refuses; the part is told."""
    opening, _ = frames_of(file)
    for at in range(len(file)):
        changed = bytearray(file)
        changed[at] ^= 1 << at % 8
        part = found_in(bytes(changed), PEOPLE).part
        assert part.startswith("header" if at < len(opening) else "frame"), at


def test_every_cut_is_found(file: bytes) -> None:
    """No prefix of a file passes for a whole one; not even one that ends with a whole frame."""
    for end in range(len(file)):
        assert "ends" in found_in(file[:end], PEOPLE).why


def test_every_other_order_of_frames_is_found(many: list[ExportedSubject]) -> None:
    """Any two frames swapped, any one dropped, any one twice: refused, at the first that is not where it was."""
    opening, frames = frames_of(b"".join(write_export(HEADER, many, KEY)))
    for first in range(len(frames)):
        dropped = frames[:first] + frames[first + 1 :]
        twice = frames[: first + 1] + frames[first:]
        assert found_in(opening + b"".join(dropped), many)
        assert found_in(opening + b"".join(twice), many)
        for second in range(first + 1, len(frames)):
            swapped = list(frames)
            swapped[first], swapped[second] = frames[second], frames[first]
            assert found_in(opening + b"".join(swapped), many).part.startswith(f"frame {first} ")


def test_a_frame_that_says_it_is_the_last_is_found(file: bytes) -> None:
    """Or the last one that says it is not: whether it is, the tag knows too."""
    opening, (first, last) = frames_of(file)
    for changed in (_turned(first) + last, first + _turned(last)):
        assert "does not open" in found_in(opening + changed, PEOPLE).why


def _turned(frame: bytes) -> bytes:
    """The same frame with the other claim."""
    return frame[:3] + bytes([frame[3] ^ 0x80]) + frame[4:]


def test_a_frame_of_another_file_is_found(file: bytes) -> None:
    """Under the same export key, at the same place, of the same people, whether a middle one or the last."""
    opening, frames = frames_of(file)
    _, others = frames_of(b"".join(write_export(HEADER, PEOPLE, KEY)))
    assert found_in(opening + others[0] + frames[1], PEOPLE).part.startswith("frame 0 ")
    assert found_in(opening + frames[0] + others[1], PEOPLE).part.startswith("frame 1 ")


def test_another_header_over_the_same_frames_is_found(file: bytes) -> None:
    """A header that says something else, even one sealed under the right key, does not open these frames."""
    other = b"".join(write_export(replace(HEADER, collection=replace(COLLECTION, shards=5)), PEOPLE, KEY))
    assert found_in(frames_of(other)[0] + b"".join(frames_of(file)[1]), PEOPLE).part.startswith("frame 0 ")


def test_bytes_behind_the_end_are_found(file: bytes) -> None:
    """In the same piece and in one of their own."""
    assert found_in(file + b"\0", PEOPLE).part == "end"
    reader = ExportReader(lambda _: KEY)
    reader.feed(file)
    with pytest.raises(ExportDamagedError, match="follow"):
        reader.feed(b"\0")


def test_another_key_opens_nothing(file: bytes) -> None:
    """The refusal names both causes, since nobody can tell them apart."""
    with pytest.raises(ExportDamagedError, match="not the key that it names"):
        read(file, key_for=lambda _: bytes(32))


@given(st.binary(max_size=300), st.sampled_from([b"", b"TSRX1\n"]))
@settings(max_examples=200, deadline=None)
def test_any_other_bytes_are_refused(noise: bytes, start: bytes) -> None:
    """Whatever it is, the reader answers with its own error and with nothing else."""
    assert found_in(start + noise, [])


def test_after_damage_nothing_more_is_read(file: bytes) -> None:
    """The same error again, also from `finish`; good bytes that follow change nothing."""
    reader = ExportReader(lambda _: KEY)
    with pytest.raises(ExportDamagedError) as first:
        reader.feed(b"no export")
    with pytest.raises(ExportDamagedError) as second:
        reader.feed(file)
    with pytest.raises(ExportDamagedError) as third:
        reader.finish()
    assert first.value is second.value is third.value


# ---- bounds


def test_a_length_that_lies_takes_no_memory(file: bytes) -> None:
    """A frame or a header that claims 2 GiB is refused when it claims it, before a byte of it is waited for."""
    opening, _ = frames_of(file)
    assert "claims" in found_in(opening + struct.pack("<I", 0x7FFFFFFF), PEOPLE).why
    assert "claims" in found_in(b"TSRX1\n" + struct.pack("<I", 0xFFFFFFFF), PEOPLE).why


def test_a_frame_that_unpacks_to_too_much_is_stopped() -> None:
    """A picture of nothing but zeros, packed a thousandfold: the reader stops at its bound and does not unpack it."""
    bomb = b"".join(write_export(HEADER, [subject("ada", 1, (bytes(64 << 20),))], KEY))
    assert len(bomb) < 1 << 20
    reader = ExportReader(lambda _: KEY, max_plain_bytes=1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ExportDamagedError, match="unpacks to more than"):
            reader.feed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_file() -> None:
    """More frames, the same peak: a reader holds one frame, and the writer too."""
    picture = np.random.default_rng(1).bytes(1 << 20)

    def peak(count: int) -> int:
        reader = ExportReader(lambda _: KEY)
        people = (subject(f"s{number}", 1, (picture,)) for number in range(count))
        tracemalloc.start()
        for chunk in write_export(HEADER, people, KEY):
            reader.feed(chunk)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert reader.finish().subjects == count
        return size

    assert peak(40) < 1.2 * peak(16)


# ---- what cannot be written


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (replace(PEOPLE[0], vectors=PEOPLE[0].vectors[:1]), "vectors"),
        (replace(PEOPLE[0], vectors=PEOPLE[0].vectors.view(np.int16)), "vectors"),
        (replace(PEOPLE[0], pictures=(b"one",)), "pictures"),
    ],
)
def test_a_subject_that_does_not_fit_is_refused(wrong: ExportedSubject, field: str) -> None:
    """Vectors and pictures are as many as templates, and of the header's shape."""
    with pytest.raises(InvalidInputError) as refused:
        list(write_export(HEADER, [wrong], KEY))
    assert refused.value.field == field


def test_pictures_are_refused_where_the_header_says_none() -> None:
    """Else a file that says it has no pictures would have some."""
    with pytest.raises(InvalidInputError, match="pictures"):
        list(write_export(replace(HEADER, with_pictures=False), PEOPLE, KEY))


def test_a_key_of_another_length_is_refused() -> None:
    """16 bytes would be AES-128: not what the file promises."""
    with pytest.raises(InvalidInputError, match="export key"):
        list(write_export(HEADER, [], bytes(16)))
