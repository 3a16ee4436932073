"""Signatures are found on pages, print is told from them, and a picture of one signature is one region."""

from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pen_strokes import pen_signature
from benchmarks.signature_pages import Kind, Page, draw_page
from benchmarks.signature_regions import met, overlap
from siamese_lab.signatures.ills import ILLS
from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason
from tessera.imaging.page_strokes import page_strokes
from tessera.imaging.pixels import Bytes
from tessera.imaging.signature import prepare_signature
from tessera.imaging.signature_regions import SignatureRegion, cut_region, find_signatures


def one_signature(seed: int, height: int = 400, width: int = 1000) -> tuple[Bytes, tuple[int, int, int, int]]:
    """A picture of a signature alone, and its box."""
    ink = pen_signature(np.random.default_rng(seed))
    picture = np.full((height, width), 245, np.uint8)
    top, left = (height - ink.shape[0]) // 2, (width - ink.shape[1]) // 2
    place = picture[top : top + ink.shape[0], left : left + ink.shape[1]]
    place[:] = (place * (1.0 - 0.85 * ink)).astype(np.uint8)
    rows, columns = np.nonzero(picture < 150)
    return picture, (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)


@functools.cache
def letter(seed: int = 3, signatures: int = 2, **seen: float) -> Page:
    """A letter with signatures on lines."""
    return draw_page(Kind(name="letter", signatures=signatures, **seen), np.random.default_rng(seed))  # type: ignore[arg-type]  # all of `seen` are floats


def usable(regions: tuple[SignatureRegion, ...]) -> list[SignatureRegion]:
    """Those that nothing speaks against."""
    return [region for region in regions if not region.reasons]


@given(seed=st.integers(0, 400))
@settings(max_examples=12, deadline=None)
def test_a_picture_of_one_signature_is_one_region(seed: int) -> None:
    """All of its ink, with a probability above one half, and not turned."""
    picture, box = one_signature(seed)
    (region,) = find_signatures(picture)
    assert overlap(region.box_px, box) > 0.85
    assert region.probability >= 0.5
    assert region.angle_degrees == 0.0


@pytest.mark.parametrize("seed", [0, 1, 2, 56, 91, 154, 167, 230])
def test_a_tight_crop_is_one_region_with_all_of_its_ink(seed: int) -> None:
    """Four pixels of paper around are enough, and each side of the box is right to within two pixels.

    The five last have straight flourishes along all of their width, which are no ruled lines.
    """
    picture, (left, top, width, height) = one_signature(seed)
    tight = np.ascontiguousarray(picture[top - 4 : top + height + 4, left - 4 : left + width + 4])
    (region,) = find_signatures(tight)
    assert region.reasons == ()
    assert region.box_px == pytest.approx((4, 4, width, height), abs=2)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ill", ["phone_shading", "ruled_paper", "jpeg_q30"])
def test_a_picture_with_an_ill_is_one_region_without_reasons(ill: str, seed: int) -> None:
    """Neither a shadow's edge, nor the noise of its dark side, nor ruled lines are taken for ink; the box is that of
    the clean picture to within six pixels."""
    picture, box = one_signature(seed)
    (region,) = find_signatures(ILLS[ill](picture, np.random.default_rng(seed)))
    assert region.reasons == ()
    assert region.box_px == pytest.approx(box, abs=6)


@pytest.mark.parametrize(
    ("font", "is_of_it"), [(cv2.FONT_HERSHEY_TRIPLEX | cv2.FONT_ITALIC, True), (cv2.FONT_HERSHEY_PLAIN, False)]
)
def test_a_neat_word_beside_a_signature_is_of_it_and_print_is_not(font: int, is_of_it: bool) -> None:
    """Where there is no running text; the gap is nearly twice the height of the signature."""
    hand, (left, top, width, height) = one_signature(1)
    paper = np.full((900, 1600), int(hand.max()), np.uint8)
    paper[400 : 400 + height, 40 : 40 + width] = hand[top : top + height, left : left + width]
    scale = 2.5 if is_of_it else 4.0
    cv2.putText(paper, "Anna Mol", (40 + width + 310, 390 + height), font, scale, 30, 4, cv2.LINE_AA)
    region = find_signatures(paper)[0]
    assert region.reasons == ()
    assert (region.box_px[2] > width + 200) == is_of_it
    assert region.box_px[0] == pytest.approx(40, abs=4)


@pytest.mark.parametrize("name", ["letter", "form", "table", "cheque"])
def test_signatures_on_a_page_are_found(name: str) -> None:
    """At least three of the four on two scanned pages of each sort, with one false region at most.

    How many it is on many pages, `benchmarks.signature_regions` measures.
    """
    pages = [draw_page(Kind(name=name, signatures=2), np.random.default_rng(seed)) for seed in (4, 6)]
    found = [usable(find_signatures(page.picture)) for page in pages]
    right = sum(met(page.boxes, regions) for page, regions in zip(pages, found, strict=True))
    assert right >= 3
    assert sum(map(len, found)) <= right + 1


def test_print_alone_is_told() -> None:
    """A page without handwriting gives one region, whose reason is PRINTED_TEXT."""
    (region,) = find_signatures(letter(5, 0).picture)
    assert region.reasons == (Reason.PRINTED_TEXT,)
    assert region.probability < 0.5


@pytest.mark.parametrize("gap_degrees", [0, 12])
def test_a_stamp_over_print_is_no_signature(gap_degrees: int) -> None:
    """A coloured ring on running text is left out, though its line has a gap; a loop of a pen is not."""
    paper = letter(5, 0).picture.copy()
    top, middle = 420, (750, 560)
    paper[top - 60 : 720, 100:1450] = 245
    for row in range(top, 720, 40):
        cv2.putText(paper, "the tenant declares hereby that all is paid", (300, row), 0, 0.9, (20, 20, 20), 2)
    for radius in (105, 92):
        cv2.ellipse(paper, middle, (radius, radius), 0, gap_degrees, 360, (60, 140, 40), 4, cv2.LINE_AA)
    for place in range(6):
        at = (middle[0] - 60 + 22 * place, middle[1] + (55 if place % 2 else -40))
        cv2.putText(paper, "M", at, 0, 0.9, (60, 140, 40), 2, cv2.LINE_AA)
    assert usable(find_signatures(paper)) == []


def test_one_printed_line_is_told() -> None:
    """So does a cut of a printed line."""
    picture = np.full((120, 900), 250, np.uint8)
    cv2.putText(
        picture, "Authorised signatory of the account", (20, 75), cv2.FONT_HERSHEY_DUPLEX, 1.3, 20, 2, cv2.LINE_AA
    )
    (region,) = find_signatures(picture)
    assert region.reasons == (Reason.PRINTED_TEXT,)


def test_empty_paper_has_no_region() -> None:
    """Neither blank paper nor paper with a ruled line alone."""
    paper = np.full((600, 900, 3), 240, np.uint8)
    assert find_signatures(paper) == ()
    cv2.line(paper, (0, 300), (899, 300), (30, 30, 30), 2)
    assert find_signatures(paper) == ()


@pytest.mark.parametrize("degrees", [-12.0, 9.0])
def test_a_page_that_lies_askew_is_turned(degrees: float) -> None:
    """The angle is that of the page to within a degree, and the cut is upright."""
    page = letter(5, 2, rotation_degrees=degrees)
    regions = usable(find_signatures(page.picture))
    assert met(page.boxes, regions) == 2
    assert all(abs(region.angle_degrees - degrees) < 1.0 for region in regions)
    cut = cut_region(page.picture, regions[0])
    assert abs(cut.shape[1] - regions[0].size_px[0]) < 0.5 * regions[0].size_px[1] + 20


def test_a_cut_holds_the_signature_and_some_paper() -> None:
    """Cut from an upright picture, it shows its pixels as they are, and no ink reaches its border."""
    picture, (_, _, width, height) = one_signature(7)
    (region,) = find_signatures(picture)
    cut = cut_region(picture, region)
    assert cut.shape[0] > height
    assert cut.shape[1] > width
    assert min(cut[0].min(), cut[-1].min(), cut[:, 0].min(), cut[:, -1].min()) > 200
    assert (cut < 150).sum() == (picture < 150).sum()
    assert find_signatures(cut)[0].size_px == pytest.approx(region.size_px, abs=4.0)


def test_no_more_than_asked_for() -> None:
    """`most` keeps the first."""
    picture = letter(5, 2).picture
    assert find_signatures(picture, 1) == find_signatures(picture)[:1]


def test_the_same_picture_gives_the_same_regions() -> None:
    """There is no chance in it."""
    page = letter(5, 2)
    assert find_signatures(page.picture) == find_signatures(page.picture.copy())


def test_a_cut_off_signature_says_so() -> None:
    """Ink that runs into the picture's border."""
    picture, (left, _, width, _) = one_signature(7)
    (region,) = find_signatures(np.ascontiguousarray(picture[:, left + width // 4 :]))
    assert Reason.CUT_OFF in region.reasons


def test_a_small_signature_says_so() -> None:
    """Below 64 pixels on the longer side."""
    picture, _ = one_signature(7)
    small = cv2.resize(picture, None, fx=0.1, fy=0.1, interpolation=cv2.INTER_AREA).astype(np.uint8)
    assert Reason.SMALL_BOUNDING_BOX in find_signatures(small)[0].reasons


def test_faint_ink_says_so() -> None:
    """Ink that is hardly darker than its paper is found, and told."""
    picture, _ = one_signature(7)
    faint = (245 - (245 - picture.astype(np.float32)) * 0.1).astype(np.uint8)
    (region,) = find_signatures(faint)
    assert Reason.FAINT_INK in region.reasons


def test_a_frame_to_sign_in_hides_no_signature() -> None:
    """What stands in the upright frame of a field is looked at, in an empty field there is nothing."""
    paper = letter(5, 0).picture.copy()
    ink = pen_signature(np.random.default_rng(7))
    paper[1400:1800, 100:1000] = 245
    cv2.rectangle(paper, (150, 1440), (150 + ink.shape[1] + 80, 1440 + ink.shape[0] + 60), (60, 60, 60), 3)
    assert usable(find_signatures(paper)) == []
    place = paper[1470 : 1470 + ink.shape[0], 190 : 190 + ink.shape[1]]
    place[:] = (place * (1.0 - 0.85 * ink[..., None])).astype(np.uint8)
    rows, columns = np.nonzero(ink > 0.4)
    box = (int(columns.min()) + 190, int(rows.min()) + 1470, int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
    (region,) = usable(find_signatures(paper))
    assert overlap(region.box_px, box) > 0.85


def test_the_desk_under_a_page_is_left_out() -> None:
    """Marks are looked for on the paper alone."""
    page = draw_page(Kind(name="letter", desk=True, rotation_degrees=8.0, noise=4.0), np.random.default_rng(11))
    strokes = page_strokes(page.picture)
    assert strokes.mask[:8].max(initial=0) == 0
    assert met(page.boxes, usable(find_signatures(page.picture))) == 1


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_picture_is_refused(wrong: Bytes) -> None:
    """By name."""
    with pytest.raises(InvalidInputError):
        find_signatures(wrong)


def test_none_asked_for_is_refused() -> None:
    """`most` is 1 or more."""
    with pytest.raises(InvalidInputError):
        find_signatures(np.zeros((9, 9), np.uint8), 0)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (5, 5, 3), (40, 40, 1)])
def test_tiny_pictures_are_answered(shape: tuple[int, ...]) -> None:
    """Whatever is on them."""
    for level in (0, 255):
        assert isinstance(find_signatures(np.full(shape, level, np.uint8)), tuple)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert isinstance(find_signatures(noise), tuple)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 2000), (2000, 1), (3, 2000), (6000, 2, 3), (20, 1), (8, 3000), (1, 16000)]
)
@pytest.mark.parametrize("ink", ["none", "all", "striped"])
def test_strips_are_answered(shape: tuple[int, ...], ink: str) -> None:
    """A picture of next to no height or width is no error of ours: what is found in it can be cut and prepared."""
    picture = np.full(shape, 0 if ink == "all" else 255, np.uint8)
    if ink == "striped":
        picture.reshape(-1)[::7] = 0
    prepare_signature(picture)
    for region in find_signatures(picture):
        assert prepare_signature(cut_region(picture, region)).canvas.shape == (80, 256)
        assert region.reasons
