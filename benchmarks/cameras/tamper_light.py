"""Light and weather that may not be taken for tampering: clouds, lamps, auto-exposure, dusk and dawn, rain, noise.

Everything comes far more often than it does before a real camera: an hour has two nights, some twenty lamps switched,
and clouds all the time. It is no outside all the same: drawn light knows no hard shadows that wander.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from camera_ingest.looking.small import Grey

Levels = npt.NDArray[np.float32]
"""float32 of shape (height, width), 0 to 255."""

_CLOUD_S = 37.0
_DAY_S = 1800.0
_NIGHT_LIGHT = 0.14
_RAIN_S = 1500.0
_LEVEL_AIM = 110.0


class Weather:
    """The light of one camera. Asked in order of time.

    Args:
        seed: of everything that is drawn.
        shape: (height, width) of the pictures.
        noise_scale: how much of a sensor's noise is left in pictures of this size.
    """

    def __init__(self, seed: int, shape: tuple[int, int], noise_scale: float) -> None:
        self._chance = np.random.default_rng(seed)
        self._shape = shape
        self._noise_scale = noise_scale
        self._phases = self._chance.uniform(0.0, 2 * math.pi, 4)
        self._day_phase = self._chance.uniform(0.0, 1.0)
        self._lamps = [self._lamp() for _ in range(3)]
        self._lit = [True, True, self._chance.random() < 0.5]
        self._switch_s = self._chance.exponential(180.0)
        self._exposure = 1.0
        self.asked_s = 0.0
        """The last moment that it was asked for."""
        self._grain = np.random.default_rng(seed + 1)
        self._noise = self._grain.standard_normal((shape[0] + 64, shape[1] + 64), np.float32)
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
        self._x, self._y = x / shape[1] - 0.5, y / shape[0] - 0.5

    def go_on_from(self, other: Weather) -> None:
        """Take over the exposure and the lamps of the same weather over pictures of another size."""
        self._chance, self._lit, self._switch_s = other._chance, other._lit, other._switch_s
        self._exposure, self.asked_s = other._exposure, other.asked_s

    def seen(self, picture: Grey, moment_s: float) -> Grey:
        """A picture as it looks in the light of this moment."""
        light, day = self._light(moment_s)
        lit = picture.astype(np.float32) * light
        lit = self._exposed(lit, moment_s)
        lit = self._rained(lit, moment_s)
        sigma = (1.5 + 5.0 * (1.0 - day)) * self._noise_scale * math.sqrt(self._exposure)
        return np.clip(lit + self._drawn_noise() * np.float32(sigma), 0, 255).astype(np.uint8)

    def _light(self, moment_s: float) -> tuple[Levels, float]:
        day = self._day(moment_s)
        swing = sum(
            math.sin(2 * math.pi * moment_s / (_CLOUD_S * 1.7**number) + phase)
            for number, phase in enumerate(self._phases)
        )
        sun = day * math.exp(0.16 * swing)
        tilt = 0.35 * math.sin(moment_s / 600.0 + self._phases[0])
        outside = sun * (1.0 + tilt * self._x + 0.2 * math.cos(moment_s / 900.0) * self._y)
        self._switch(moment_s)
        lamps = sum((lamp for lamp, lit in zip(self._lamps, self._lit, strict=True) if lit), np.zeros_like(self._x))
        return np.asarray(0.75 * outside + 0.35 * lamps, dtype=np.float32), day

    def _day(self, moment_s: float) -> float:
        height = math.sin(2 * math.pi * (moment_s / _DAY_S + self._day_phase))
        share = 1.0 / (1.0 + math.exp(-6.0 * (height + 0.3)))
        return _NIGHT_LIGHT + (1.0 - _NIGHT_LIGHT) * share

    def _switch(self, moment_s: float) -> None:
        while moment_s >= self._switch_s:
            lamp = int(self._chance.integers(len(self._lamps)))
            self._lit[lamp] = not self._lit[lamp]
            if not any(self._lit):  # nobody can see in the dark; a room that is dark is told as covered
                self._lit[0] = True
            self._switch_s += self._chance.exponential(180.0)

    def _lamp(self) -> Levels:
        y, x = np.mgrid[0 : self._shape[0], 0 : self._shape[1]].astype(np.float32)
        at_x, at_y = self._chance.uniform(0.0, self._shape[1]), self._chance.uniform(-0.2, 0.6) * self._shape[0]
        reach = self._chance.uniform(0.35, 0.8) * self._shape[1]
        away = ((x - at_x) ** 2 + (y - at_y) ** 2) / reach**2
        return np.asarray(self._chance.uniform(0.5, 1.2) / (1.0 + 2.0 * away), dtype=np.float32)

    def _exposed(self, lit: Levels, moment_s: float) -> Levels:
        since_s, self.asked_s = moment_s - self.asked_s, moment_s
        wanted = min(3.0, max(0.6, _LEVEL_AIM / max(5.0, float(lit[::8, ::8].mean()))))
        self._exposure += (1.0 - math.exp(-max(0.0, since_s) / 1.5)) * (wanted - self._exposure)
        return lit * np.float32(self._exposure)

    def _rained(self, lit: Levels, moment_s: float) -> Levels:
        strength = math.sin(2 * math.pi * moment_s / _RAIN_S + self._phases[1]) - 0.4
        if strength <= 0.0:
            return lit
        wet = lit * np.float32(1.0 - 0.25 * strength) + np.float32(20.0 * strength)  # haze, and on it streaks
        streaks = np.zeros(self._shape, np.uint8)
        length_px = max(4, self._shape[0] // 14)
        for x, y in self._grain.uniform(0, 1, (int(160 * strength), 2)):
            at = (int(x * self._shape[1]), int(y * self._shape[0]))
            cv2.line(streaks, at, (at[0] + length_px // 5, at[1] + length_px), 40, 1)
        return np.asarray(wet + streaks, dtype=np.float32)

    def _drawn_noise(self) -> Levels:
        top, left = (int(at) for at in self._grain.integers(0, 64, 2))
        return self._noise[top : top + self._shape[0], left : left + self._shape[1]]
