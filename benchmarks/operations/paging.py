"""Faults that are planted in running services, and how long each takes until somebody is paged.

A real camera worker, gallery, encoder and store; Prometheus with the deployed rules, Alertmanager with the deployed
routing, at the deployed five seconds; a webhook that notes when it is told. First nothing is wrong and nobody may be
paged. Then a camera freezes, the mated scores of claims move down by 0.3 standard deviations, and the encoder dies.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure
from benchmarks.gallery.filling import KEYS, keys_environ
from benchmarks.gallery.store_server import store_server
from benchmarks.operations.observatory import Observatory, observatory
from benchmarks.operations.still_camera import StillCamera, still_camera
from benchmarks.parts import Context
from benchmarks.services import Service, service
from tessera.client import Tessera
from tessera.domain.artifact import DEFAULT_ENCODERS, load_calibrations_for
from tessera.domain.calibration import Calibration, Impostors
from tessera.domain.embedding import Embedding, Modality

SUBJECTS = 10_000
CLAIMS_HZ = 100.0
QUIET_S = 90.0
DRIFT_SIGMAS = 0.3
CAMERA = "door"
BARS_S = {"CameraFrozen": 60.0, "ServiceDown": 60.0, "ScoreDrift": 120.0}
"""What detection, scrape, `for`, evaluation and grouping add up to, and some air; of drift also the ten seconds in
which a hundred claims a second fill the window of the newest thousand."""
_LIMIT_S = 240.0


@dataclass(frozen=True, slots=True)
class Site:
    """What runs."""

    encoder: Service
    gallery: Service
    ingest: Service
    camera: StillCamera
    seen: Observatory


def run(context: Context) -> list[Figure]:
    """Plant each fault, and wait for its page."""
    os.environ.update(keys_environ())  # of the gallery that is started here
    with tempfile.TemporaryDirectory() as folder, _site(Path(folder)) as site:
        with Tessera(site.gallery.address, ingest=site.ingest.address) as tessera:
            claims = Claims(tessera)
            series = _enrolled(site, claims, round(context.seconds(SUBJECTS, 200)))
            tessera.add_camera(CAMERA, site.camera.url, sample_rate_hz=5.0, motion_gate=False)
            claims.make(round(context.seconds(1200, 1200)), 0.0)
            began_s = time.monotonic()
            _claim_until(claims, began_s + context.seconds(QUIET_S, 20.0))
            early = [page.alert for page in site.seen.pages if page.firing and page.receiver == "on-call"]
            times = {"CameraFrozen": _freeze(site), "ScoreDrift": _drift(site, claims), "ServiceDown": _die(site)}
        pages = [page.alert for page in site.seen.pages if page.firing and page.receiver == "on-call"]
    return _figures(context, early, times, pages, series)


class Claims:
    """Claims whose scores are drawn from what the calibration measured, moved by so many standard deviations.

    Args:
        tessera: to whom they are made.
    """

    def __init__(self, tessera: Tessera) -> None:
        self._tessera = tessera
        self._calibration = _calibration()
        self._rng = np.random.default_rng(20261123)
        self.sigma = float(self._drawn(100_000).std())

    def enroll(self, number: int) -> None:
        """One subject with one template, an embedding."""
        self._tessera.enroll(f"person-{number}", self._embedding(self._unit()), request_id=f"enrol-{number}")

    def make(self, count: int, sigmas: float) -> None:
        """So many claims about one subject, each true."""
        for score in self._drawn(count) + sigmas * self.sigma:
            self._tessera.verify("person-claimed", self._probe(float(np.clip(score, -0.99, 0.99))))

    def enroll_claimed(self) -> None:
        """The subject that claims are about."""
        self._tessera.enroll("person-claimed", self._embedding(self._axis(0)))

    def _probe(self, score: float) -> Embedding:
        """A vector at this cosine to the subject's template, in any direction."""
        away = self._unit()
        away[0] = 0.0
        away /= np.linalg.norm(away)
        return self._embedding(score * self._axis(0) + np.sqrt(1.0 - score**2) * away)

    def _drawn(self, count: int) -> npt.NDArray[np.float64]:
        points = self._calibration.points
        below = np.array([0.0, *(point.fnmr for point in points), 1.0])
        scores = np.array([-0.1, *(point.threshold for point in points), 1.0])
        drawn: npt.NDArray[np.float64] = np.interp(self._rng.random(count), below, scores)
        return drawn

    def _unit(self) -> npt.NDArray[np.float64]:
        vector = self._rng.normal(size=DIMENSIONS)
        unit: npt.NDArray[np.float64] = vector / np.linalg.norm(vector)
        return unit

    def _axis(self, number: int) -> npt.NDArray[np.float64]:
        vector = np.zeros(DIMENSIONS)
        vector[number] = 1.0
        return vector

    def _embedding(self, vector: npt.NDArray[np.float64]) -> Embedding:
        return Embedding.from_raw(vector, self._calibration.model_id)


DIMENSIONS = 128


def _calibration() -> Calibration:
    found = load_calibrations_for(DEFAULT_ENCODERS[Modality.FACE])
    return next(one for one in found if one.impostors is Impostors.RANDOM)


# ---- what runs


@contextmanager
def _site(folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        store = stack.enter_context(store_server())
        encoder = stack.enter_context(service("encoder_svc", "TESSERA_ENCODER_", {}))
        common = {"STORE": store.url, "ENCODER": encoder.address, "KEYS": KEYS}
        gallery = stack.enter_context(service("gallery_svc", "TESSERA_GALLERY_", {**common, "DURABILITY": "everysec"}))
        settings = {"STORE_URL": store.url, "ENCODER_ADDRESS": encoder.address, "GALLERY_ADDRESS": gallery.address}
        ingest = stack.enter_context(service("camera_ingest", "TESSERA_INGEST_", settings))
        camera = stack.enter_context(still_camera())
        targets = {"encoder": [_page(encoder)], "gallery": [_page(gallery)], "ingest": [_page(ingest)]}
        yield Site(encoder, gallery, ingest, camera, stack.enter_context(observatory(folder, targets)))


def _page(one: Service) -> str:
    return f"127.0.0.1:{one.metrics_port}"


# ---- the faults


def _enrolled(site: Site, claims: Claims, subjects: int) -> tuple[int, int, int]:
    """(subjects, series before, series after) of the gallery's page."""
    claims.enroll_claimed()
    claims.enroll(0)
    claims.make(1000, 0.0)  # every outcome and every name of an operation has come once
    before = _series(site)
    for number in range(1, subjects):
        claims.enroll(number)
    claims.make(200, 0.0)
    return subjects, before, _series(site)


def _series(site: Site) -> int:
    with urllib.request.urlopen(f"http://{_page(site.gallery)}/metrics", timeout=30) as told:
        return sum(not line.startswith(b"#") for line in told)


def _freeze(site: Site) -> float:
    began_s = time.monotonic()
    site.camera.freeze()
    return site.seen.paged("CameraFrozen", _LIMIT_S, camera=CAMERA).at_s - began_s


def _drift(site: Site, claims: Claims) -> float:
    began_s = time.monotonic()
    while not any(page.alert == "ScoreDrift" for page in site.seen.pages):
        if time.monotonic() > began_s + _LIMIT_S:
            break
        _claim_until(claims, time.monotonic() + 1.0, -DRIFT_SIGMAS)
    return site.seen.paged("ScoreDrift", 1.0, modality="FACE").at_s - began_s


def _die(site: Site) -> float:
    began_s = time.monotonic()
    site.encoder.process.send_signal(signal.SIGKILL)
    return site.seen.paged("ServiceDown", _LIMIT_S, job="encoder").at_s - began_s


def _claim_until(claims: Claims, end_s: float, sigmas: float = 0.0) -> None:
    """Claims at a steady pace."""
    next_s = time.monotonic()
    while next_s < end_s:
        claims.make(1, sigmas)
        next_s += 1.0 / CLAIMS_HZ
        time.sleep(max(0.0, next_s - time.monotonic()))


# ---- the figures


def _figures(
    context: Context, early: list[str], times: Mapping[str, float], pages: list[str], series: tuple[int, int, int]
) -> list[Figure]:
    subjects, before, after = series
    words = {
        "CameraFrozen": "camera frozen to page",
        "ScoreDrift": f"mated scores {DRIFT_SIGMAS:g} sigma lower to page, at {CLAIMS_HZ:g} claims/s",
        "ServiceDown": "encoder killed to page",
    }
    found = [
        context.figure(words[name], round(took, 1), "s", f"at most {BARS_S[name]:g} s", holds=took <= BARS_S[name])
        for name, took in times.items()
    ]
    unwanted = sorted(set(pages) - set(BARS_S))
    others, same = ", ".join(unwanted) or "none", before == after
    grown = f"series of the gallery, before and after {subjects} subjects"
    return [
        *found,
        context.figure(f"pages in {QUIET_S:g} s without a fault", len(early), "pages", "none", holds=not early),
        context.figure("other pages while faults were planted", others, "", "none", holds=not unwanted),
        context.figure(grown, f"{before}, {after}", "series", "the same", holds=same),
    ]
