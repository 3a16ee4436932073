"""Whole sets through named steps, and the page on which people look at pairs."""

from __future__ import annotations

import re
from base64 import b64decode

import cv2
import numpy as np
import pytest

from siamese_lab.data.contact_sheet import page
from siamese_lab.data.pairs import Pairs, balanced_pairs
from siamese_lab.data.preparation import STEPS, accepted, measure_all, prepare
from siamese_lab.data.sources import LabelledImages
from tessera.domain.errors import InvalidInputError
from tessera.imaging.equalise import equalise
from tessera.imaging.filters import gaussian, median
from tessera.imaging.picture_gate import PictureGate, measure


def _images(channels: int, count: int = 4, side_px: int = 28) -> LabelledImages:
    pixels = np.random.default_rng(0).integers(100, 140, (count, side_px, side_px, channels), dtype=np.uint8)
    return LabelledImages(pixels, np.arange(count) % 2, ("ink & <b>", "Größe"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("step", STEPS)
def test_each_step_gives_pictures_again(step: str, channels: int) -> None:
    """As many, as large, with their labels; the set that was given is as before."""
    images = _images(channels)
    before = images.images.copy()
    prepared = prepare(images, [step])
    assert prepared.images.shape[:3] == images.images.shape[:3]
    assert prepared.images.shape[3] in {1, channels}
    assert prepared.labels is images.labels
    assert (images.images == before).all()
    assert (prepared.images[..., 0] != before[..., 0]).any()


def test_steps_are_the_functions_that_serve() -> None:
    """One after the other, on blue, green, red: byte for byte what `tessera.imaging` makes of each picture."""
    images = _images(3)
    prepared = prepare(images, ["median", "equalise", "gaussian"])
    for before, after in zip(images.images, prepared.images, strict=True):
        served = np.ascontiguousarray(before[:, :, ::-1])
        np.testing.assert_array_equal(after[:, :, ::-1], gaussian(equalise(median(served)), 0.7))


def test_no_step_is_no_change_and_unknown_ones_are_refused() -> None:
    """The error lists the steps there are."""
    images = _images(1)
    assert prepare(images, []) is images
    assert len(prepare(images.subset([]), ["otsu"])) == 0
    with pytest.raises(InvalidInputError, match="otsu"):
        prepare(images, ["sharpen"])


def test_a_gate_over_a_set_is_the_gate_over_each() -> None:
    """Measured as served; what passes can be used as an index."""
    images = _images(3)
    images.images[1] = cv2.GaussianBlur(images.images[1], (0, 0), 3)
    served = [measure(np.ascontiguousarray(picture[:, :, ::-1])) for picture in images.images]
    assert measure_all(images) == served
    passed = accepted(images, PictureGate(0.5, 0.1, 0.0))
    assert passed.tolist() == [True, False, True, True]
    assert len(images.subset(passed)) == 3


def _shown(html: str) -> list[np.ndarray]:
    coded = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [cv2.imdecode(np.frombuffer(b64decode(one), np.uint8), cv2.IMREAD_UNCHANGED) for one in coded]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_page_shows_each_pair_under_its_mark(channels: int) -> None:
    """Every pixel as it is in the set, in colour as it is; POS where the classes are one and NEG where they are two."""
    images = _images(channels, 10)
    pairs = balanced_pairs(images.labels, 8, np.random.default_rng(1))
    html = page(images, pairs, "A title")
    both = np.stack([pairs.first, pairs.second], 1).ravel()
    for shown, at in zip(_shown(html), both, strict=True):
        expected = images.images[at][:, :, ::-1] if channels == 3 else images.images[at][:, :, 0]
        np.testing.assert_array_equal(shown, expected)
    assert re.findall(r"<b>(POS|NEG)</b>", html) == ["POS" if mated else "NEG" for mated in pairs.mated]
    assert re.findall(r"#(\d+) \| .*#(\d+)<", html) == [
        (str(one), str(two)) for one, two in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    ]
    assert "8 pairs: 4 POS (one class), 4 NEG (two classes)." in html


def test_the_page_stands_alone_and_trusts_no_name() -> None:
    """No script, nothing fetched; names of classes are text; a caveat is shown."""
    images = _images(1)
    pairs = Pairs(np.array([0]), np.array([1]), np.array([False]))
    html = page(images, pairs, "<script>alert(1)</script>", "A lossy copy.")
    assert "<script" not in html
    assert "http" not in html
    assert "ink &amp; &lt;b&gt; #0 | Größe #1" in html
    assert "A lossy copy." in html


def test_too_many_pairs_for_a_page_are_refused() -> None:
    """A page that a browser cannot show helps nobody."""
    images = _images(1)
    many = balanced_pairs(images.labels, 401, np.random.default_rng(0))
    with pytest.raises(InvalidInputError):
        page(images, many, "Many")
