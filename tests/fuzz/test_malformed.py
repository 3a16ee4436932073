"""The corpus of broken, lying and oversized pictures: each gets its own answer, and none takes the process with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks.malformed import Case, corpus, exif, formats, interlaced_png, with_exif
from tessera.domain.errors import ImageRejectedError
from tessera.imaging.decode import decode

pytestmark = pytest.mark.timeout(300)

ALLOWED_RISE_MIB = 100
MAX_STDERR_LINES = 20
MAX_DECODE_S = 5.0
"""Far above the slowest, 0.2 s, and far below what a stream without end would take."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a process of its own made of the corpus."""

    answers: Mapping[str, str]
    slowest_s: tuple[float, str]
    risen_mib: float
    stderr: str


@pytest.fixture(scope="module")
def cases(portraits: Mapping[str, bytes]) -> dict[str, Case]:
    """The corpus, by name."""
    return {case.name: case for case in corpus(portraits["obama2.jpg"])}


@pytest.fixture(scope="module")
def judged(cases: Mapping[str, Case], tmp_path_factory: pytest.TempPathFactory) -> Judged:
    """Every case decoded in one process that does nothing else."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, case in cases.items():
        (folder / name.replace("/", "~")).write_bytes(case.data)
    program = Path(__file__).with_name("judge_corpus.py")
    done = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True, check=False, timeout=290
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    answers = {name.replace("~", "/"): answer for name, answer in told["answers"].items()}
    return Judged(answers, tuple(told["slowest_s"]), told["risen_mib"], done.stderr)


def test_each_case_gets_its_answer(cases: Mapping[str, Case], judged: Judged) -> None:
    """Cut, flipped, lying, oversized, rare: the right reason or a picture, and the process lives through it."""
    assert judged.answers.keys() == cases.keys()
    wrong = {name: answer for name, answer in judged.answers.items() if answer not in cases[name].allowed}
    assert wrong == {}


def test_memory_stays_within_100_mb(judged: Judged) -> None:
    """Over all cases the high-water mark of the process rises by less than 100 MB, bombs of 100 megapixels included."""
    assert judged.risen_mib < ALLOWED_RISE_MIB


def test_no_case_takes_long(judged: Judged) -> None:
    """Two megabytes that unpack to two gigabytes are left once the rows are full."""
    assert judged.slowest_s[0] < MAX_DECODE_S, judged.slowest_s


def test_libraries_hardly_write_to_standard_error(judged: Judged) -> None:
    """Whoever sends bad pictures must not fill the log: some 1,700 of them give a handful of lines."""
    assert len(judged.stderr.splitlines()) < MAX_STDERR_LINES, judged.stderr[-2000:]


def test_the_corpus_is_always_the_same(portraits: Mapping[str, bytes], cases: Mapping[str, Case]) -> None:
    """Two runs can be compared; every name is unique, and there are hundreds of flips and cuts."""
    again = list(corpus(portraits["obama2.jpg"]))
    assert again == list(cases.values())
    assert sum("/truncated/" in name for name in cases) >= 99 * 6
    assert sum("/flipped/" in name for name in cases) >= 600


def test_a_flipped_bit_in_a_png_is_always_found(cases: Mapping[str, Case], judged: Judged) -> None:
    """Its checksums are looked at: no damaged PNG passes for a picture, whatever the decoder would make of it."""
    for name in (name for name in cases if name.startswith("png/flipped/")):
        assert judged.answers[name] != "fine", name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_means_the_same_in_every_format(portraits: Mapping[str, bytes], orientation: int) -> None:
    """A JPEG, a PNG and a WebP with the same EXIF come out the same way round."""
    cases = {case.name: case.data for case in corpus(portraits["obama2.jpg"])}
    png = decode(cases[f"png/orientation/{orientation}"])
    jpeg = decode(cases[f"jpeg/orientation/{orientation}"])
    assert png.shape == jpeg.shape
    assert np.abs(png.astype(int) - jpeg).mean() < 4
    if orientation == 6:
        assert np.abs(png.astype(int) - decode(cases["webp/orientation/6"])).mean() < 6


def test_an_interlaced_png_is_the_same_picture(portraits: Mapping[str, bytes]) -> None:
    """Seven passes give what one gives."""
    image = decode(portraits["obama.jpg"])[:101, :77]
    np.testing.assert_array_equal(decode(interlaced_png(image)), image)


def test_an_animation_is_refused_by_that_name(cases: Mapping[str, Case]) -> None:
    """Nobody knows which of its pictures is meant, and the caller is told so."""
    for name in ("png/animated", "webp/animated"):
        with pytest.raises(ImageRejectedError, match="animated"):
            decode(cases[name].data)


def test_exif_of_forty_blocks_is_read_from_the_first(portraits: Mapping[str, bytes]) -> None:
    """Metadata of two megabytes is stepped over."""
    jpeg = formats(decode(portraits["obama.jpg"])[:200, :150])["jpeg"]
    turned = decode(with_exif(jpeg, *[exif(6) + b"\x00" * 60_000] * 40))
    assert turned.shape == decode(jpeg).transpose(1, 0, 2).shape
