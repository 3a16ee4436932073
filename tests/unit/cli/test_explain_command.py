"""`tessera explain` against fake services over real gRPC: what it asks, writes, prints and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from unit.client.fake_services import Script, serving

from tessera.cli.__main__ import main
from tessera.client import Tessera
from tessera.client.explanation_wire import map_to_wire
from tessera.client.explanations import ExplanationMap
from tessera.domain import errors as e
from tessera.domain.embedding import Embedding
from tessera.domain.errors import InvalidInputError
from tessera.domain.ids import ModelId
from tessera.domain.reasons import Reason
from tessera.v1 import biometrics_pb2, encoder_pb2, matching_pb2

Run = Callable[..., int]
WEIGHTS = np.array([[1.0, 0.5, 0.0], [0.25, -0.5, -0.25]], np.float32)


@pytest.fixture
def script() -> Script:
    """What the fake services answer."""
    script = Script()
    drawn = map_to_wire(ExplanationMap(WEIGHTS, b"\x89PNG of a map", "occlusion", 4.25))
    box = biometrics_pb2.Box(x_px=1.0, y_px=2.0, width_px=30.0, height_px=40.0)
    seen = biometrics_pb2.Observation(box=box, quality=biometrics_pb2.Quality(overall=0.75))
    script.answers["Explain"] = encoder_pb2.ExplainResponse(map=drawn, observation=seen, model_id="face-test-1@0")
    script.answers["ExplainMatch"] = matching_pb2.ExplainMatchResponse(
        map=drawn, template_id="template-2", quality=seen.quality, box=box
    )
    return script


@pytest.fixture
def run(script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs a command against the fake services, in an empty folder; gives its exit code."""
    monkeypatch.chdir(tmp_path)
    with serving(script) as address:
        for name in ("GALLERY", "INGEST", "ENCODER"):
            monkeypatch.setenv(f"TESSERA_{name}", address)
        yield lambda *arguments: main(["explain", *(str(argument) for argument in arguments)])


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path]:
    """Two files that stand for pictures."""
    paths = tmp_path / "first.jpg", tmp_path / "second.jpg"
    for path in paths:
        path.write_bytes(path.stem.encode())
    return paths


def test_two_pictures_give_a_map(
    run: Run, script: Script, images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first is explained against the second; the map is a file, and the words say how far to trust it."""
    assert run(*images, "-o", "out.png", "--grid", 10) == 0
    (asked,) = script.requests
    assert (asked.image.data, asked.reference.image.data, asked.grid) == (b"first", b"second", 10)
    assert Path("out.png").read_bytes() == b"\x89PNG of a map"
    told = capsys.readouterr().out
    assert "out.png: red speaks for a match, blue against it (occlusion)" in told
    assert "changes the score 4.2 times as much as a random tenth" in told
    assert "tells little" not in told


def test_a_picture_and_a_subject_give_a_map(
    run: Run, script: Script, images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked of the gallery, with an id for its record; the template is named."""
    assert run(images[0], "--subject", "alice", "--collection", "doors") == 0
    (asked,) = script.requests
    assert (asked.image.data, asked.subject_id, asked.collection_id, asked.grid) == (b"first", "alice", "doors", 14)
    assert asked.request_id
    assert Path("map.png").exists()
    assert "against template template-2" in capsys.readouterr().out


def test_a_map_that_tells_little_says_so(
    run: Run, script: Script, images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where covering the map's strongest part does hardly more than covering anything."""
    script.answers["Explain"].map.faithfulness = 1.1
    assert run(*images) == 0
    assert "the map tells little" in capsys.readouterr().out


def test_json_has_the_map(
    run: Run, script: Script, images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Row by row, and no score and no picture in it."""
    assert run(*images, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["weights"] == WEIGHTS.tolist()
    assert (told["output"], told["method"], told["faithfulness"]) == ("map.png", "occlusion", 4.25)
    assert told["model_id"] == "face-test-1@0"
    assert told["quality"]["overall"] == 0.75
    assert "score" not in told


@pytest.mark.parametrize(
    "arguments", [["first.jpg"], ["first.jpg", "second.jpg", "--subject", "alice"]], ids=["neither", "both"]
)
def test_the_picture_is_compared_with_one_thing(
    run: Run, script: Script, images: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """A second picture or a subject, never both; it says how to call it, and asks nobody."""
    assert run(*arguments) == 3
    assert "tessera explain FIRST.jpg SECOND.jpg" in capsys.readouterr().err
    assert not script.requests


def test_a_model_belongs_to_pictures_alone(run: Run, script: Script, images: tuple[Path, Path]) -> None:
    """A subject is compared by its collection's; two pictures by the encoder that is named."""
    assert run(images[0], "--subject", "alice", "--model", "face-other-1") == 3
    assert run(*images, "--model", "face-other-1") == 0
    assert [asked.model_id for asked in script.requests] == ["face-other-1"]


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [
        (e.ImageRejectedError(Reason.NO_FACE, "no face", "reference.image"), 3, "reference.image"),
        (e.ImageRejectedError(Reason.EXCEEDS_MAX_FACES, "several", "image"), 3, "cut the picture to the one person"),
        (e.ModelMismatchError("a@1", "b@1"), 3, "use embeddings that the collection's own model made"),
        (e.OverloadedError("explanation queue", 8), 4, "try again in a moment"),
    ],
)
def test_a_refusal_says_what_can_be_done(  # noqa: PLR0917 - fixtures and cases
    run: Run,
    script: Script,
    images: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    raised: Exception,
    code: int,
    shown: str,
) -> None:
    """By the exit code and in words; no file is written."""
    script.answers["Explain"] = raised
    assert run(*images) == code
    assert shown in capsys.readouterr().err
    assert not Path("map.png").exists()


def test_a_map_that_cannot_be_written_is_told(
    run: Run, script: Script, images: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that is not there."""
    assert run(*images, "-o", "nowhere/map.png") == 3
    assert "nowhere/map.png" in capsys.readouterr().err


def test_python_asks_with_pictures_and_embeddings(script: Script, images: tuple[Path, Path], tmp_path: Path) -> None:
    """The reference may be an embedding, the picture may not; what comes back is an array and a file."""
    with serving(script) as address, Tessera(address, encoder=address) as tessera:
        explained = tessera.explain(images[0], Embedding.from_raw([3.0, 4.0], ModelId("face-test-1@0")))
        with pytest.raises(InvalidInputError, match="image"):
            tessera.explain(Embedding.from_raw([1.0], ModelId("x@1")), images[1])
    np.testing.assert_array_equal(explained.map.weights, WEIGHTS)
    assert list(script.requests[0].reference.embedding.values) == pytest.approx([0.6, 0.8])
    explained.map.save(tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes() == explained.map.overlay_png
