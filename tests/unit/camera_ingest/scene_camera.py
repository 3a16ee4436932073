"""A camera at simulated time before a scene that is drawn, for tests of the watch on scenes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np

from camera_ingest.looking.changes import SceneChange
from camera_ingest.looking.scene import SceneWatch
from camera_ingest.looking.small import Grey
from tessera.domain.camera_events import CameraEventKind as Kind

Disturb = Callable[[Grey, float], Grey]
WIDTH, HEIGHT = 320, 180


def yard() -> Grey:
    """A place with edges and with plain parts, larger than the picture."""
    chance = np.random.default_rng(8)
    ground = cv2.resize(chance.normal(0, 14, (60, 90)).astype(np.float32), (480, 320), interpolation=cv2.INTER_CUBIC)
    scene = np.clip(130 + ground, 0, 255).astype(np.uint8)
    for _ in range(55):
        x, y = (int(at) for at in chance.integers(0, (460, 300)))
        width, height = (int(side) for side in chance.integers(8, 50, 2))
        cv2.rectangle(scene, (x, y), (x + width, y + height), int(chance.integers(30, 230)), -1)
    return cv2.GaussianBlur(scene, (0, 0), 0.7).astype(np.uint8)


YARD = yard()


def view(x: int = 70, y: int = 60) -> Grey:
    return YARD[y : y + HEIGHT, x : x + WIDTH]


@dataclass
class Camera:
    """A scene watch at simulated time, five pictures a second, with a sensor's noise."""

    watch: SceneWatch = field(default_factory=SceneWatch)
    now_s: float = 0.0
    part_of_day: int = 0
    told: list[tuple[float, SceneChange]] = field(default_factory=list)

    def run(self, for_s: float, disturb: Disturb = lambda seen, _since_s: seen, frame: Grey | None = None) -> None:
        began_s = self.now_s
        while self.now_s < began_s + for_s:
            if self.watch.is_due(self.now_s):
                seen = disturb((view() if frame is None else frame).copy(), self.now_s - began_s)
                noise = np.random.default_rng(round(self.now_s * 10)).normal(0, 2, seen.shape)
                changes = self.watch.look(np.clip(seen + noise, 0, 255).astype(np.uint8), self.now_s, self.part_of_day)
                self.told += [(self.now_s - began_s, change) for change in changes]
            self.now_s += 0.2

    def kinds(self) -> list[Kind]:
        return [change.kind for _, change in self.told]
