"""What deciding over a tracklet is worth, against deciding on each frame: misses at the same rate of false matches.

The sequences and their judged half are those of `benchmarks.decisions` (LFW, degraded by a seed; the weights of frames
were fitted on the other half of the people). Here the probes come out of the gallery's own state of a tracklet, and a
running gallery decides on the same sequences and frames, sent as a camera worker sends them: what it says must be what
follows from the probes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np

from benchmarks.cameras.plan import Context, figure
from benchmarks.decisions.data import faces
from benchmarks.decisions.fusion import SINGLE, Sequences
from benchmarks.decisions.plan import SEED
from benchmarks.decisions.sequences import Kind, embedded_sequences, plan_sequences
from benchmarks.decisions.trials import REPLICATES, Indices, Trials, fnmr_at_equal_fmr
from benchmarks.figures import Figure
from benchmarks.instance import Instance
from gallery_svc.tracklets import TrackletState
from siamese_lab.degradation import Severity
from siamese_lab.verification import Estimate
from tessera.chassis.channel import open_channel
from tessera.client import Tessera
from tessera.client.collection_values import DecisionPolicy
from tessera.client.stream_values import TrackletDecision, TrackletSample, TrackletUpdate
from tessera.client.streams import MatchStream
from tessera.domain.decision import Outcome
from tessera.domain.embedding import Embedding, Modality, Vector
from tessera.domain.error_rates import wilson_interval
from tessera.domain.ids import CameraId, CollectionId, TrackletId
from tessera.domain.observation import Box

FMRS = (1e-3, 1e-4)
TRACKLETS = "tracklets"
LEAST_FRAMES = {TRACKLETS: 2, SINGLE: 1}
"""Usable frames that a tracklet needs before it is decided: as collections come, and for a frame that stands alone."""
RUNNING_SEVERITY = Severity.MODERATE
"""Of one severity, since each has an enrolled picture of its own, which another's frames may show."""
_BOX = Box(100.0, 100.0, 80.0, 100.0)
_BEGAN = datetime(2026, 11, 23, tzinfo=UTC)
_FRAME_S = 0.2


def run(context: Context) -> Sequence[Figure]:
    """Offline at equal FMR, with intervals; then what a running gallery says of the same."""
    lfw = faces()
    planned = plan_sequences(lfw)
    world = Sequences(lfw, planned, embedded_sequences(lfw, planned))
    everybody = world.with_faces(world.of(Kind.SEVERAL_PICTURES))
    judged, others = world.part(everybody, 2, 1), world.part(everybody, 2, 0)
    figures = _equal_fmr(world, judged, "all severities", context.count(REPLICATES, 20))
    for severity in Severity:
        chosen = np.intersect1d(judged, world.of(Kind.SEVERAL_PICTURES, severity))
        figures += _equal_fmr(world, chosen, severity.lower(), context.count(REPLICATES, 20), barred=False)
    of_one = world.of(Kind.SEVERAL_PICTURES, RUNNING_SEVERITY)
    with context.instance() as instance:
        figures += _running(instance, world, *(np.intersect1d(half, of_one) for half in (judged, others)))
    context.note(
        f"tracklets: {judged.size} sequences of 5 to 8 frames, {world.people - 1} other people each; frames without a "
        "face are left out on both sides. Running gallery: sequences of moderate severity; those who are not enrolled "
        "there are of the half on which the weights of frames were fitted."
    )
    return figures


# ---- at equal FMR


def _equal_fmr(world: Sequences, chosen: Indices, what: str, replicates: int, *, barred: bool = True) -> list[Figure]:
    probes = np.stack([probe_of(samples_of(world, world.rows(at))) for at in chosen])
    kinds: dict[str, Trials] = {SINGLE: world.single(chosen), TRACKLETS: world.compared(chosen, probes)}
    figures: list[Figure] = []
    for fmr in FMRS:
        told = fnmr_at_equal_fmr(kinds, fmr, np.random.default_rng(SEED), replicates)
        for name in kinds:
            figures += _with_interval(f"{name}: FNMR at FMR {fmr:g}, {what}", told.estimate(name), "share")
        ratio = told.ratio(SINGLE, TRACKLETS)
        name = f"misses of single frames / of tracklets at FMR {fmr:g}, {what}"
        bar, holds = ("95 % low above 1", ratio.interval.low > 1) if barred else ("", None)
        figures += _with_interval(name, ratio, "times", bar, holds)
    return figures


def _with_interval(name: str, told: Estimate, unit: str, bar: str = "", holds: bool | None = None) -> list[Figure]:
    return [
        figure(f"tracklets: {name}", _finite(told.value), unit, bar, holds),
        figure(f"tracklets: {name}, 95 % low", _finite(told.interval.low), unit),
        figure(f"tracklets: {name}, 95 % high", _finite(told.interval.high), unit),
    ]


def _finite(value: float) -> float | str:
    """JSON has no infinity: nobody was missed by what is compared with."""
    return value if np.isfinite(value) else "infinite"


def probe_of(samples: Sequence[TrackletSample]) -> Vector:
    """What the gallery compares once it was told these samples, one by one."""
    state = TrackletState()
    for number, sample in enumerate(samples, 1):
        state = state.with_samples(update_of("probe", CollectionId("probe"), (sample,), number))
    return state.probe().vector


def samples_of(world: Sequences, rows: Indices) -> tuple[TrackletSample, ...]:
    """Frames of a sequence as a camera worker tells them."""
    return tuple(
        TrackletSample(
            _BEGAN + at * timedelta(seconds=_FRAME_S),
            Embedding(world.frames.vectors[row], world.model_id),
            quality,
            _BOX,
        )
        for at, (row, quality) in enumerate(zip(rows, world.frames.qualities(rows), strict=True))
    )


def update_of(
    tracklet_id: str, collection_id: CollectionId, samples: tuple[TrackletSample, ...], sequence: int = 1
) -> TrackletUpdate:
    """An update of a tracklet that goes on."""
    last_seen = samples[-1].capture_time
    return TrackletUpdate(
        camera_id=CameraId("benchmark"),
        collection_id=collection_id,
        tracklet_id=TrackletId(tracklet_id),
        sequence=sequence,
        samples=samples,
        first_seen=_BEGAN,
        last_seen=last_seen,
        box=_BOX,
        frame_count=len(samples),
        ended=False,
    )


# ---- a running gallery


@dataclass(frozen=True, slots=True)
class Asked:
    """A tracklet that the gallery was asked about."""

    update: TrackletUpdate
    person: str
    """Whose it is; empty: of nobody who is enrolled."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said of a kind of probes."""

    mated: int
    named: int
    """With the right name."""
    misnamed: int
    """Somebody enrolled who was given another's name."""
    unknown: int
    """Probes of people who are not enrolled."""
    false_names: int
    """Of those, how many were given a name."""


def _running(instance: Instance, world: Sequences, judged: Indices, others: Indices) -> list[Figure]:
    address = str(instance.children()["gallery"]["address"])
    figures: list[Figure] = []
    for kind, least in LEAST_FRAMES.items():
        collection = CollectionId(kind.replace(" ", "-"))
        with instance.connect() as tessera:
            _enrol(tessera, world, judged, collection, least)
        asked = [
            *_asked(world, judged, collection, alone=kind == SINGLE),
            *(replace(one, person="") for one in _asked(world, others, collection, alone=kind == SINGLE)),
        ]
        figures += _tell_heard(kind, heard_of(asked, asyncio.run(_decided(address, [one.update for one in asked]))))
    return figures


def _enrol(tessera: Tessera, world: Sequences, judged: Indices, collection: CollectionId, least_frames: int) -> None:
    policy = replace(DecisionPolicy.usual(Modality.FACE), min_tracklet_frames=least_frames)
    tessera.create_collection(collection, policy=policy)
    for person, at in {world.planned[at].person: at for at in judged}.items():
        tessera.enroll(
            person,
            world.enrolled[at],
            model_id=world.model_id,
            collection_id=collection,
            consent_reference="LFW, for research",
        )


def _asked(world: Sequences, chosen: Indices, collection: CollectionId, *, alone: bool) -> list[Asked]:
    asked = []
    for at in chosen:
        samples = samples_of(world, world.rows(at))
        for number, group in enumerate([(sample,) for sample in samples] if alone else [samples]):
            update = update_of(f"{collection}-{at}-{number}", collection, group)
            asked.append(Asked(update, world.planned[at].person))
    return asked


async def _decided(address: str, updates: Sequence[TrackletUpdate]) -> dict[TrackletId, TrackletDecision]:
    decided: dict[TrackletId, TrackletDecision] = {}
    async with open_channel(address) as channel, MatchStream(channel, "benchmark") as stream:
        room = asyncio.Semaphore(stream.max_in_flight)

        async def send() -> None:
            for update in updates:
                await room.acquire()
                await stream.send(update)
            await stream.half_close()

        sender = asyncio.create_task(send())
        async for answer in stream:
            room.release()
            if isinstance(answer, TrackletDecision):
                decided[answer.tracklet_id] = answer
        await sender
    return decided


def heard_of(asked: Sequence[Asked], decided: dict[TrackletId, TrackletDecision]) -> Heard:
    """Who was named, rightly and wrongly. An update without an answer, or an inconclusive one, names nobody."""
    named = misnamed = false_names = 0
    for one in asked:
        answer = decided.get(one.update.tracklet_id)
        name = answer.subject_id if answer is not None and answer.decision.outcome is Outcome.MATCH else None
        named += bool(one.person) and name == one.person
        misnamed += bool(one.person) and name is not None and name != one.person
        false_names += not one.person and name is not None
    mated = sum(bool(one.person) for one in asked)
    return Heard(mated, named, misnamed, len(asked) - mated, false_names)


def _tell_heard(kind: str, heard: Heard) -> list[Figure]:
    name = f"tracklets: running gallery at its default policy, {kind}"
    missed, false_rate = heard.mated - heard.named, heard.false_names / heard.unknown
    within = wilson_interval(missed, heard.mated)
    return [
        figure(f"{name}: enrolled people not named", missed / heard.mated, f"share of {heard.mated}"),
        figure(f"{name}: enrolled people not named, 95 % low (as if independent)", within.low, "share"),
        figure(f"{name}: enrolled people not named, 95 % high (as if independent)", within.high, "share"),
        figure(f"{name}: enrolled people given another's name", heard.misnamed, f"of {heard.mated}"),
        figure(f"{name}: people not enrolled who were given a name", false_rate, f"share of {heard.unknown}"),
    ]
