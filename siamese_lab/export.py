"""From a run to an encoder: a folder that `encoder_svc` loads as it is and `tessera encoder import` takes.

    network.json, weights.safetensors   the subnet as steps, without its head
    manifest.json                       what it is, with the sums of both
    calibration.json                    measured on the run's test part, on the exported network
    model_card.md                       for people

The head that learned with the subnet stays behind: in a gallery the calibration decides. Only face encoders can be
served so far: the service aligns faces to 112 x 112 pixels, and the exported steps bring them to what the subnet takes.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch

from siamese_lab.data.partition import balanced_sample
from siamese_lab.data.sources import LabelledImages
from siamese_lab.evaluation.embedding import embed
from siamese_lab.tracing import trace
from siamese_lab.training.loop import load_trained
from siamese_lab.training.recipe import NoiseKind
from siamese_lab.training.run_folder import DATA_FILE, FIGURES_FILE, RunFolder
from siamese_lab.training.training_data import TrainingData
from tessera.domain.artifact import (
    CALIBRATION_FILE,
    MANIFEST_FILE,
    NETWORK_FILE,
    WEIGHTS_FILE,
    InputFormat,
    Manifest,
    SourceFile,
    load_manifest,
    parse_manifest,
)
from tessera.domain.calibration import SCHEMA, Calibration, dump_calibration
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError
from tessera.domain.fitting import Provenance, calibrate_embeddings
from tessera.domain.ids import CalibrationId
from tessera.domain.manifest_fields import is_name
from tessera.domain.own_encoder import CROP_PX, ImportedSums, OwnEncoder, manifest_text
from tessera.imaging.preprocess import PREPROCESSING_VERSION
from tessera.nets.graph import ImportedNetwork, dump_program

CARD_FILE = "model_card.md"
DETECTOR_OF = "face-sface-1"
CALIBRATED_ON = 4000
"""Test pictures, at most: eight million comparisons."""


@dataclass(frozen=True, slots=True, eq=False)
class Exported:
    """What was written."""

    folder: Path
    manifest: Manifest
    calibration: Calibration


def export_run(run: RunFolder, data: TrainingData, name: str, licence: str, into: Path) -> Exported:
    """Write the encoder of a run.

    Args:
        run: that is over.
        data: of its recipe.
        name: of the encoder, a-z, 0-9 and '-'.
        licence: of the weights, an SPDX identifier; the data has a say in it.
        into: the folder that gets a folder of that name.

    Raises:
        InvalidInputError: the name is taken or none, the run is not over, or its pictures are prepared as no service
            prepares them.
        ArtifactError: the network cannot be written down as steps.
    """
    _require_served(run, name, into)
    trained = load_trained(run, data.test)
    program, weights = trace(trained.network, (3, CROP_PX, CROP_PX))
    files = {NETWORK_FILE: dump_program(program), WEIGHTS_FILE: safetensors.torch.save(weights)}
    files[MANIFEST_FILE] = _manifest(run, name, licence, program.dimensions, files).encode("utf-8")
    # read as a service reads it, before anything is measured with it
    ImportedNetwork(program, weights, name)
    with tempfile.TemporaryDirectory(dir=_made(into), prefix=".part-") as made:
        part = Path(made) / name
        part.mkdir()
        for file, content in files.items():
            (part / file).write_bytes(content)
        manifest = parse_manifest(files[MANIFEST_FILE].decode("utf-8"), f"{name}/{MANIFEST_FILE}", part)
        calibration = _calibration(run, data, manifest, embed(trained.network, _calibrated(data).images))
        (part / CALIBRATION_FILE).write_text(dump_calibration(calibration), encoding="utf-8")
        (part / CARD_FILE).write_text(_card(run, data, manifest, calibration, licence), encoding="utf-8")
        shutil.move(part, into / name)
    return Exported(into / name, load_manifest(name, [into]), calibration)


def _require_served(run: RunFolder, name: str, into: Path) -> None:
    if not is_name(name):
        raise InvalidInputError("--name", name, "a-z, 0-9 and '-', a letter first")
    if (into / name).exists():
        raise InvalidInputError("--name", name, f"a name that is free: {into / name} is there already")
    part = run.recipe.data
    if part.steps or part.noise.kind is not NoiseKind.NONE:
        raise InvalidInputError("data.steps", part.steps or part.noise.kind.value, "none: no service takes such steps")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _manifest(run: RunFolder, name: str, licence: str, dimensions: int, files: dict[str, bytes]) -> str:
    detector = load_manifest(DETECTOR_OF).detector
    if not isinstance(detector, SourceFile):
        raise InvalidInputError("detector", DETECTOR_OF, "an encoder with a detector")
    levels = InputFormat(scale=(1.0 / 255.0,) * 3)
    own = OwnEncoder(name, dimensions, licence, levels, mirrored=False, refined=False, centre="")
    sums = ImportedSums(_sha256(files[NETWORK_FILE]), _sha256(files[WEIGHTS_FILE]), "", _origin(run))
    return manifest_text(own, sums, detector, PREPROCESSING_VERSION)


def _origin(run: RunFolder) -> str:
    return " ".join(filter(None, ("siamese_lab", run.recipe.name, run.recipe.variant, f"seed {run.seed}")))


def _calibrated(data: TrainingData) -> LabelledImages:
    labels = data.test.labels
    return data.test.subset(balanced_sample(labels, CALIBRATED_ON, np.random.default_rng(0)))


def _calibration(
    run: RunFolder, data: TrainingData, manifest: Manifest, embeddings: npt.NDArray[np.float32]
) -> Calibration:
    created = f"{datetime.now(UTC):%Y-%m-%d}"
    lengths = np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32(1e-12))
    provenance = Provenance(
        calibration_id=CalibrationId(f"{manifest.name}-lab-{created.replace('-', '')}-{SCHEMA}"),
        model_id=manifest.model_id,
        modality=Modality.FACE,
        created=created,
        data_name=f"{run.recipe.data.source}, test part of {run.recipe.name}",
        data_digest=(run.read_json(DATA_FILE) or {}).get("sha256", data.digests())["test"],
    )
    return calibrate_embeddings((embeddings / lengths).astype(np.float32), _calibrated(data).labels, provenance)


def _card(run: RunFolder, data: TrainingData, manifest: Manifest, calibration: Calibration, licence: str) -> str:
    recipe, figures = run.recipe, run.read_json(FIGURES_FILE) or {}
    height_px, width_px, channels = data.training.images.shape[1:]
    pairs = (figures.get("head") or figures.get("pairs") or {}).get("accuracy")
    found = "not evaluated"
    if pairs:
        low, high = pairs["interval"]["low"], pairs["interval"]["high"]
        found = f"{100 * pairs['value']:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"
    measured = calibration.data
    return f"""# {manifest.name}

{recipe.title}. Trained by the Siamese lab from the recipe `{recipe.name}`{_variant(run)}, seed {run.seed}.

| | |
|---|---|
| model id | `{manifest.model_id}` |
| modality, dimensions | face, {manifest.dimensions}, unit length |
| network | {recipe.network.name}, trained on {height_px} x {width_px} pixels, {channels} channel(s) |
| trained on | {recipe.data.source}: {len(data.training):,} pictures of {len(data.training.names)} classes |
| loss | {recipe.loss.name} |
| licence of the weights | {licence} |
| pairs right on the test part | {found} |
| calibrated on | {measured.samples:,} test pictures of {measured.subjects} classes |
| comparisons | {measured.mated:,} mated, {measured.non_mated:,} non-mated |

## What it is not
- The calibration is of the test part named above, at the network's own size. Where it is deployed, measure another:
  `tessera calibrate`.
- {data.caveat or "Nothing is known of how it does on other pictures than those."}
- A class of the data set is not a person, unless its classes are people: thresholds then say nothing of people.
"""


def _variant(run: RunFolder) -> str:
    return f", variant `{run.recipe.variant}`" if run.recipe.variant else ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
