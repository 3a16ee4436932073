"""From a run to the folder that a service reads."""

from __future__ import annotations

import io
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import torch
from signature_world import canvases

from siamese_lab.signatures.data import BHSIG_TAR, read_bhsig
from siamese_lab.signatures.export import export, load_run
from siamese_lab.signatures.network import SignatureNetworkSize
from siamese_lab.signatures.study import embed_files
from siamese_lab.signatures.training import SignatureRecipe, train
from tessera.demo.signatures import draw, invent_forger, invent_hand, sign
from tessera.domain.artifact import ImportedGraph, load_calibration_for, load_manifest
from tessera.domain.calibration import Impostors
from tessera.domain.embedding import Modality
from tessera.nets.graph import load_network

TINY = SignatureNetworkSize(stem=4, widths=(4, 8, 8), place_channels=2, dimensions=16)


def archive_of(folder: Path, writers: range, each: int) -> None:
    """Invented writers under the names of the set."""
    rng = np.random.default_rng(3)
    with tarfile.open(folder / BHSIG_TAR, "w") as archive:
        for writer in writers:
            hand = invent_hand(rng)
            for hands, part in ((hand, f"bhh_{writer}/g"), (invent_forger(hand, rng), f"bhh_{writer}_forg/f")):
                for number in range(each):
                    _, data = cv2.imencode(".png", draw(sign(hands, rng)))
                    entry = tarfile.TarInfo(f"{part}_{number:02d}.png")
                    entry.size = data.size
                    archive.addfile(entry, io.BytesIO(data.tobytes()))


def test_a_run_becomes_an_encoder_that_loads(tmp_path: Path) -> None:
    """A service reads manifest, network and both calibrations, and the network gives what was trained."""
    archive_of(tmp_path, range(101, 105), 4)
    recipe = SignatureRecipe(size=TINY, steps=1, writers=2, genuine=2, forged=2, warm_up=1)
    train(recipe, canvases(), canvases(), tmp_path / "run", told=lambda _: None)
    manifest, random, skilled = export(
        tmp_path / "run", tmp_path, "signature-tiny-1", tmp_path / "encoders", datetime(2026, 11, 22, tzinfo=UTC)
    )
    folders = [tmp_path / "encoders"]
    read = load_manifest("signature-tiny-1", folders)
    assert (read.model_id, read.modality, read.detector) == (manifest.model_id, Modality.SIGNATURE, None)
    assert (read.crop.height_px, read.crop.width_px) == (80, 256)
    shipped = load_calibration_for("signature-tiny-1", folders)
    assert shipped is not None
    assert shipped.calibration_id == random.calibration_id
    other = load_calibration_for("signature-tiny-1", folders, Impostors.SKILLED)
    assert other is not None
    assert (shipped.impostors, other.impostors) == (Impostors.RANDOM, Impostors.SKILLED)
    assert other.data.non_mated == skilled.data.non_mated == 4 * 4 * 4
    assert other.data.mated == random.data.mated == 4 * 6
    assert isinstance(read.embedder, ImportedGraph)
    files = [(read.embedder.folder / name).read_bytes() for name in ("network.json", "weights.safetensors")]
    network = load_network(files[0], files[1], "tiny")
    signatures = list(read_bhsig(tmp_path / BHSIG_TAR, [101]))
    assert np.allclose(
        embed_files(network, signatures).vectors, embed_files(load_run(tmp_path / "run"), signatures).vectors, atol=1e-4
    )
    assert not torch.is_grad_enabled() or all(not weight.requires_grad for weight in network.parameters())
