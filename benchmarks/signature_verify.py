"""What a verify call with a signature takes, through real services on the loopback: gallery, encoder and store.

    python -m benchmarks.signature_verify

The figures go to `docs/results/signature.json`, beside those of `benchmarks.signature`. The signatures are generated:
what is measured is time, and nothing about people.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.figures import ROOT, Figure, keep_part, report
from benchmarks.first_light import UP, wait_serving
from benchmarks.instance import running
from tessera.client import Tessera
from tessera.demo.signatures import HEIGHT_PX, WIDTH_PX, draw, invent_hand, sign
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Modality

COMMAND = "python -m benchmarks.signature_verify"
CALLS, WARM_UP_CALLS, PROBES, REFERENCES = 200, 20, 20, 5
ASKED_P50_MS = 60.0
NOTE = (
    f"Verify: {CALLS} calls, one after the other, of {PROBES} generated signatures drawn at {WIDTH_PX} x {HEIGHT_PX} "
    f"(PNG), against {REFERENCES} references; `tessera up` on this machine, with its store, over gRPC on the loopback."
)
_SEED = 1


def verify_figures() -> list[Figure]:
    """Latency of verify calls, and where the encoder's time goes."""
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "instance"
        with running([*UP, "--data-dir", str(data_dir)], ROOT, data_dir, {}) as instance:
            wait_serving(instance)
            with instance.connect() as tessera:
                walls_ms, stages_ms = _verified(tessera)
    p50, p99 = (float(np.quantile(walls_ms, share)) for share in (0.5, 0.99))
    of_encoder = ", ".join(f"{name} {np.median([one[name] for one in stages_ms]):.1f}" for name in stages_ms[0])
    what = "Verify of a signature through gRPC"
    asked = f"at most {ASKED_P50_MS:g}"
    return [
        Figure(f"{what}, p50, 1000x400 image, CPU", p50, "ms", asked, p50 <= ASKED_P50_MS, COMMAND),
        Figure(f"{what}, p99, 1000x400 image, CPU", p99, "ms", "", None, COMMAND),
        Figure(f"{what}: the encoder's stages, medians", of_encoder, "ms", "", None, COMMAND),
    ]


def _verified(tessera: Tessera) -> tuple[list[float], list[dict[str, float]]]:
    """Wall time of each call, and the encoder's own stages."""
    rng = np.random.default_rng(_SEED)
    hand = invent_hand(rng)
    pictures = [cv2.imencode(".png", draw(sign(hand, rng)))[1].tobytes() for _ in range(REFERENCES + PROBES)]
    collection_id = DEFAULT_COLLECTIONS[Modality.SIGNATURE]
    tessera.enroll("writer", pictures[:REFERENCES], collection_id=collection_id)
    walls_ms: list[float] = []
    stages_ms: list[dict[str, float]] = []
    for call in range(WARM_UP_CALLS + CALLS):
        started_s = time.perf_counter()
        answer = tessera.verify("writer", pictures[REFERENCES + call % PROBES], collection_id=collection_id)
        walls_ms.append(1000.0 * (time.perf_counter() - started_s))
        if answer.times is None:
            raise RuntimeError("an answer without its times")
        stages_ms.append(dict(answer.times.encoder_stages_ms))
    return walls_ms[WARM_UP_CALLS:], stages_ms[WARM_UP_CALLS:]


def main() -> int:
    """Measure, print and keep."""
    figures = verify_figures()
    keep_part("signature", figures)
    return report("signature", figures, [NOTE], keep=False)


if __name__ == "__main__":
    sys.exit(main())
