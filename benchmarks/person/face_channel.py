"""What the face channel can do on the same pictures of people: mostly nothing, since faces are small or turned away."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.cameras.tracking import plain_pipeline
from benchmarks.figures import Figure
from benchmarks.person.clip_crops import clip_people
from benchmarks.person.plan import Context, figure
from camera_ingest.pictures import to_file
from encoder_svc.faces.pipeline import FacePipeline
from siamese_lab.persons.data import CON_REID_TAR, People, Split, read_con_reid
from tessera.domain.errors import ImageRejectedError

ENLARGED = 4
"""Of a crop 64 px wide, before faces are looked for: a head of 12 px has 48 then."""
GALLERY_PICTURES = 6
"""Of each person at most: a face is looked for in each."""


def face_figures(context: Context) -> Sequence[Figure]:
    """How many pictures show a face that can be compared, and who is found by it, unshifted."""
    pipeline = plain_pipeline()
    con_reid = tuple(read_con_reid(context.data() / CON_REID_TAR, one) for one in (Split.PROBES, Split.GALLERY))
    figures: list[Figure] = []
    for name, (probes, gallery) in (
        ("Con-ReID's held-out people", con_reid),
        ("people of the clips", clip_people(context)),
    ):
        few = of_each(gallery, GALLERY_PICTURES)
        seen, searched = faces_of(pipeline, probes), faces_of(pipeline, few)
        figures.append(
            figure(f"probes with a face to compare, {name}", f"{len(seen)} of {len(probes.person)}", "pictures")
        )
        found = _found(seen, searched, probes, few)
        told = f"{sum(found)} of {len(found)}" if found else "none can be searched for"
        figures.append(figure(f"rank-1 by face of probes with one, {name}", told, "pictures"))
    return figures


def of_each(people: People, most: int) -> People:
    """The first `most` pictures of each person."""
    chosen = np.zeros(len(people.person), np.bool_)
    for one in np.unique(people.person):
        chosen[np.flatnonzero(people.person == one)[:most]] = True
    return people.of(chosen)


def faces_of(pipeline: FacePipeline, people: People) -> dict[int, npt.NDArray[np.float32]]:
    """By row, the embedding of the surest face of a picture; rows without one are left out."""
    found = {}
    for row, crop in enumerate(people.crops):
        larger = cv2.resize(crop, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
        try:
            observations = pipeline.run(to_file(larger)).observations
        except ImageRejectedError:
            continue
        best = max(observations, key=lambda one: one.detection_probability, default=None)
        if best is not None and best.embedding is not None:
            found[row] = best.embedding.vector
    return found


def _found(
    seen: dict[int, npt.NDArray[np.float32]], searched: dict[int, npt.NDArray[np.float32]], probes: People, few: People
) -> list[bool]:
    """Of the probes with a face, and a mate with one: whether the mate comes first."""
    if not searched:
        return []
    rows, vectors = np.array(list(searched)), np.stack(list(searched.values()))
    people = few.person[rows]
    return [
        bool(people[int(np.argmax(vectors @ vector))] == probes.person[row])
        for row, vector in seen.items()
        if (people == probes.person[row]).any()
    ]
