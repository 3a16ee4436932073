"""Faces and persons of one picture: decoded once, their networks in step, and each face with its owner."""

from __future__ import annotations

from dataclasses import replace

from encoder_svc.frames import Encoded, EncodedFrame, Picture, SeenPersons, SeenSample
from encoder_svc.scheduling.journeys import Way, side_by_side
from encoder_svc.two_stage import TwoStageRoute
from tessera.client.stream_values import StageTimes
from tessera.domain.association import owners
from tessera.domain.embedding import Modality
from tessera.domain.ids import ModelId


def seen_together(faces: TwoStageRoute, persons: TwoStageRoute, picture: Picture, persons_id: ModelId) -> Way[Encoded]:
    """The way of a picture in which faces and persons are looked for.

    Args:
        faces: decodes it, and looks for faces.
        persons: looks for persons in what was decoded.
        picture: that asks for both.
        persons_id: the model of the persons' embeddings.
    """
    (prepared,) = yield faces.to_decode(picture)
    of_faces, of_persons = picture.of(Modality.FACE), picture.of(Modality.PERSON)
    seen, beside = yield from side_by_side(
        faces.way_on(of_faces, prepared.output), persons.way_on(of_persons, prepared.output)
    )
    return Encoded(_joined(seen.frame, beside.frame, persons_id), seen.crops)


def _joined(faces: EncodedFrame, persons: EncodedFrame, persons_id: ModelId) -> EncodedFrame:
    found = owners([one.box for one in faces.observations], [one.box for one in persons.observations])
    samples = tuple(_of(sample, person) for sample, person in zip(faces.samples, found, strict=True))
    times = _sum(faces.times, persons.times)
    return replace(faces, samples=samples, times=times, persons=SeenPersons(persons.samples, persons_id))


def _of(face: SeenSample, person: int | None) -> SeenSample:
    return replace(face, observation=replace(face.observation, person=person))


def _sum(faces: StageTimes, persons: StageTimes) -> StageTimes:
    """What both took; the picture was decoded once, for both."""
    spent = {name: getattr(faces, name) + getattr(persons, name) for name in StageTimes.__dataclass_fields__}
    once_ms = min(faces.decode_ms, persons.decode_ms)
    return StageTimes(**spent | {"decode_ms": spent["decode_ms"] - once_ms, "total_ms": spent["total_ms"] - once_ms})
