"""Everything at once: all classes, deadlines, callers who go away, versions that come and go. Nothing gets stuck."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from encoder_svc.encoders import EncoderFacts, Encoders, EncoderState
from encoder_svc.faces.pipeline import FacePipeline
from encoder_svc.scheduling.work import WorkClass
from tessera.domain.errors import (
    ExpiredError,
    NotFoundError,
    OverloadedError,
    PreconditionError,
    UnavailableError,
)
from tests.encoder_world import NOTHING, RULES, build_parts, left_over, manifest_named, picture, pipeline_of, see, tell
from tests.eventually import eventually

PICTURES = 600
NAMES = ("face-a", "face-b")
NO_ANSWER = (ExpiredError, OverloadedError, UnavailableError, NotFoundError, ZeroDivisionError)


class Storm:
    """Two lanes with slow and faulty networks, and everything that may happen to them.

    Args:
        seed: of all that is random.
        helpers: threads beside the lanes.
    """

    def __init__(self, seed: int, helpers: int) -> None:
        self.chance = random.Random(seed)
        self.parts = build_parts(
            lanes=2,
            helpers=helpers,
            window=4,
            limit=16,
            decoded_bytes=60_000,
            rules=replace(RULES, slice_s=0.01, linger_share=0.25, source_frames=1),
        )
        self.manifests = {name: manifest_named(name) for name in NAMES}
        self.encoders = Encoders(lambda name: EncoderFacts(self.manifests[name], ""), self._load, self.parts)
        self.ends: Counter[str] = Counter()

    async def start(self) -> None:
        """Have one encoder ready."""
        self.parts.scheduler.start()
        while not self.encoders.ready():
            self.encoders.load("face-a")
            await asyncio.gather(self.encoders.loaded(), return_exceptions=True)

    async def encode(self) -> None:
        """One picture of any class, with any deadline; the faces must be its own."""
        chance = self.chance
        faces, left_s = chance.randrange(5), chance.choice([None, None, 0.005, 0.05])
        expires_at_s = None if left_s is None else self.parts.clock.monotonic_s() + left_s
        asked = picture(faces, chance.choice(list(WorkClass)), expires_at_s=expires_at_s, source=chance.choice("abc"))
        try:
            frame = await self.encoders.encode(asked, chance.choice(["", "", "face-b"]))
        except NO_ANSWER as error:
            self.ends[type(error).__name__] += 1
            return
        assert len(frame.samples) == faces
        assert all(observation.embedding is not None for observation in frame.observations)
        self.ends["encoded"] += 1

    async def change(self) -> None:
        """Load, replace and unload without end."""
        while True:
            await asyncio.sleep(self.chance.random() * 0.02)
            name = self.chance.choice(NAMES)
            try:
                match self.chance.randrange(3):
                    case 0:
                        self.encoders.load(name, self.chance.choice([None, 0, 1]))
                    case 1:
                        await self.encoders.replace(name, self._pipeline(name))
                    case 2:
                        await self.encoders.unload(self.manifests["face-b"].model_id)
            except (NotFoundError, PreconditionError, ZeroDivisionError) as error:
                self.ends[f"change: {type(error).__name__}"] += 1

    async def settled(self) -> bool:
        """Whether nothing is loaded or drained, and nothing is in use."""
        states = {status.state for status in self.encoders.statuses()}
        return states <= {EncoderState.READY, EncoderState.FAILED} and left_over(self.parts) == NOTHING

    def _pipeline(self, name: str) -> FacePipeline:
        return pipeline_of(self.manifests[name], self._faulty(see), self._faulty(tell))

    async def _load(self, facts: EncoderFacts) -> FacePipeline:
        await asyncio.sleep(self.chance.random() * 0.01)
        return self._pipeline(facts.manifest.name)

    def _faulty(self, network: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(batch: torch.Tensor) -> torch.Tensor:
            time.sleep(self.chance.random() * 0.002)
            if self.chance.random() < 0.02:
                raise ZeroDivisionError
            return network(batch)

        return run


@pytest.mark.parametrize(("seed", "helpers"), [(1, 0), (2, 2)])
async def test_hundreds_of_pictures_that_come_and_go_are_all_answered(seed: int, helpers: int) -> None:
    """Of all classes on two lanes, cancelled and expired at random, while encoders are loaded, replaced and unloaded
    and batches fail: each has one answer with its own faces, and in the end nothing is in use and no task is left."""
    storm = Storm(seed, helpers)
    await storm.start()
    changing = asyncio.create_task(storm.change())
    tasks: list[asyncio.Task[None]] = []
    for _ in range(PICTURES):
        tasks.append(asyncio.create_task(storm.encode()))
        if storm.chance.random() < 0.3:
            storm.chance.choice(tasks[-30:]).cancel()
        if storm.chance.random() < 0.5:
            await asyncio.sleep(storm.chance.random() * 0.01)
    async with asyncio.timeout(90):
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert not changing.done()
    changing.cancel()
    await asyncio.wait({changing})
    await eventually(storm.settled, 30)

    cancelled = sum(isinstance(end, asyncio.CancelledError) for end in ends)
    answered = sum(number for kind, number in storm.ends.items() if not kind.startswith("change"))
    assert [end for end in ends if end is not None and not isinstance(end, asyncio.CancelledError)] == []
    assert answered + cancelled == PICTURES
    assert storm.ends["encoded"] > PICTURES / 10
    ready = [s.facts.manifest.name for s in storm.encoders.statuses() if s.state is EncoderState.READY]
    assert len(ready) == len(set(ready))
    assert "face-a" in ready
    await storm.encoders.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
