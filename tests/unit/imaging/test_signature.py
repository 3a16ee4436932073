"""What a canvas shows of a signature, whatever paper, pen and scanner it comes from."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tessera.demo.signatures import draw, invent_hand, sign
from tessera.domain.errors import InvalidInputError
from tessera.domain.reasons import Reason
from tessera.imaging.decode import Image
from tessera.imaging.ink import find_ink, stroke_width_px, without_shading
from tessera.imaging.signature import (
    CANVAS_HEIGHT_PX,
    CANVAS_WIDTH_PX,
    MARGIN_PX,
    Canvas,
    prepare_signature,
    signature_input,
)


def picture(seed: int = 5, ink: tuple[int, int, int] = (30, 30, 30)) -> Image:
    """A signature of an invented hand, on 400 x 1000 pixels of white paper."""
    rng = np.random.default_rng(seed)
    return draw(sign(invent_hand(rng), rng), ink)


def alike(first: Canvas, second: Canvas) -> float:
    """Correlation of two canvases, softened by a pixel or two."""
    soft = [cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), 1.5).ravel() for canvas in (first, second)]
    return float(np.corrcoef(*soft)[0, 1])


def test_the_strokes_fill_the_canvas_up_to_its_margin() -> None:
    """The box of the strokes touches the margin on two opposite sides, and is in the middle."""
    left, top, width, height = cv2.boundingRect(prepare_signature(picture()).canvas)
    assert width >= CANVAS_WIDTH_PX - 2 * MARGIN_PX - 2 or height >= CANVAS_HEIGHT_PX - 2 * MARGIN_PX - 2
    assert abs(2 * left + width - CANVAS_WIDTH_PX) <= 3
    assert abs(2 * top + height - CANVAS_HEIGHT_PX) <= 3


def test_a_canvas_is_as_stated() -> None:
    """uint8 of 80 x 256, most of it paper; as input float32 from 0 to 1 with one channel."""
    canvas = prepare_signature(picture()).canvas
    assert canvas.dtype == np.uint8
    assert canvas.shape == (CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
    assert np.median(canvas) == 0
    given = signature_input([canvas, canvas])
    assert given.shape == (2, 1, CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
    assert given.dtype == np.float32
    assert given.max() == 1.0
    assert given.min() == 0.0


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_light_that_falls_off_across_the_paper_changes_nothing(seed: int) -> None:
    """A page that is half as bright on one side gives the same canvas."""
    plain = picture(seed)
    falling = np.linspace(1.0, 0.45, plain.shape[1])[None, :, None]
    shaded = (plain * falling).astype(np.uint8)
    assert alike(prepare_signature(plain).canvas, prepare_signature(shaded).canvas) > 0.97


@pytest.mark.parametrize("seed", [5, 6, 7])
def test_ruled_lines_are_taken_off(seed: int) -> None:
    """Dark lines across the paper, through the strokes, leave nearly the same canvas."""
    plain = picture(seed)
    ruled = plain.copy()
    for row in range(35, ruled.shape[0], 80):
        cv2.line(ruled, (0, row), (ruled.shape[1] - 1, row + 4), (90, 90, 90), 2)
    assert alike(prepare_signature(plain).canvas, prepare_signature(ruled).canvas) > 0.9


def test_blue_ink_is_ink() -> None:
    """Strokes in blue give the canvas that strokes in black give."""
    black, blue = picture(), picture(ink=(180, 60, 40))
    assert alike(prepare_signature(black).canvas, prepare_signature(blue).canvas) > 0.98


def test_a_noisy_scan_saved_as_jpeg_gives_the_same_canvas() -> None:
    """Noise of 8 levels and JPEG quality 30."""
    plain = picture()
    noisy = np.clip(plain + np.random.default_rng(1).normal(0, 8, plain.shape), 0, 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 30])
    saved = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    assert alike(prepare_signature(plain).canvas, prepare_signature(saved).canvas) > 0.97


@pytest.mark.parametrize("scale", [0.3, 0.5, 2.0])
def test_size_and_place_do_not_matter(scale: float) -> None:
    """Scanned at another resolution, and off the middle, a signature gives the same canvas."""
    plain = picture()
    scanned = cv2.resize(plain, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    moved = cv2.copyMakeBorder(scanned, 80, 0, 0, 120, cv2.BORDER_CONSTANT, value=(250, 250, 250))
    assert alike(prepare_signature(plain).canvas, prepare_signature(moved.astype(np.uint8)).canvas) > 0.9


def test_a_mark_far_away_does_not_shrink_the_signature() -> None:
    """A speck and a short scanner line in the corners are left out of the box."""
    plain = cv2.copyMakeBorder(picture(), 0, 0, 120, 120, cv2.BORDER_CONSTANT, value=(250, 250, 250)).astype(np.uint8)
    marked = plain.copy()
    cv2.line(marked, (3, 330), (3, 380), (0, 0, 0), 1)
    marked[5:9, 1210:1214] = 0
    assert prepare_signature(marked).box_px == pytest.approx(prepare_signature(plain).box_px, abs=2)


def test_how_far_names_stand_apart_does_not_matter() -> None:
    """Two words that are moved apart give the canvas that they gave before."""
    words = np.full((200, 900), 255, np.uint8)
    cv2.putText(words, "Ab", (60, 130), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, 4.0, 0, 5)
    cv2.putText(words, "Cd", (400, 130), cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, 4.0, 0, 5)
    apart = np.hstack((words[:, :370], np.full((200, 150), 255, np.uint8), words[:, 370:]))
    assert alike(prepare_signature(words).canvas, prepare_signature(apart).canvas) > 0.99


def test_the_edge_of_a_sheet_is_no_stroke() -> None:
    """A thin upright line far from the signature, as high as half the picture, is left out."""
    plain = cv2.copyMakeBorder(picture(), 0, 0, 0, 200, cv2.BORDER_CONSTANT, value=(250, 250, 250)).astype(np.uint8)
    edged = plain.copy()
    cv2.line(edged, (1190, 60), (1190, 300), (60, 60, 60), 2)
    assert prepare_signature(edged).box_px == pytest.approx(prepare_signature(plain).box_px, abs=2)


def test_a_hair_line_is_still_seen_on_the_canvas() -> None:
    """A stroke of 1 pixel on 1000 would fade to a third; it is thickened before it is shrunk."""
    thin = np.full((300, 1000), 255, np.uint8)
    cv2.ellipse(thin, (500, 150), (480, 100), 0, 0, 330, 0, 1)
    canvas = prepare_signature(thin).canvas
    strokes = canvas[canvas > 20]
    assert np.percentile(strokes, 75) > 180


def test_empty_paper_is_no_signature() -> None:
    """Paper alone, flat or noisy or shaded, has that one reason and an empty canvas."""
    rng = np.random.default_rng(2)
    noisy = np.clip(rng.normal(230, 3, (300, 800)), 0, 255).astype(np.uint8)
    shaded = np.tile(np.linspace(250, 120, 800).astype(np.uint8), (300, 1))
    for paper in (np.full((300, 800), 240, np.uint8), noisy, shaded):
        prepared = prepare_signature(paper)
        assert prepared.reasons == (Reason.NO_SIGNATURE,)
        assert not prepared.canvas.any()
        assert prepared.box_px == (0, 0, 0, 0)


def test_reasons_say_what_is_wrong() -> None:
    """Ink hardly darker than paper is faint, a few pixels are too few, strokes over the edge are cut; else nothing."""
    plain = picture()
    assert prepare_signature(plain).reasons == ()
    assert Reason.FAINT_INK in prepare_signature(picture(ink=(228, 228, 228))).reasons
    left, top, width, height = prepare_signature(plain).box_px
    tiny = cv2.resize(plain[top : top + height, left : left + width], (40, 16), interpolation=cv2.INTER_AREA)
    assert Reason.SMALL_BOUNDING_BOX in prepare_signature(tiny.astype(np.uint8)).reasons
    cut = plain[top + height // 2 :, :]
    assert Reason.CUT_OFF in prepare_signature(cut).reasons


def test_the_way_back_leads_to_the_strokes() -> None:
    """Ink of the canvas, taken to the picture, is on ink."""
    plain = picture()
    prepared = prepare_signature(plain)
    rows, columns = np.nonzero(prepared.canvas > 200)
    found = plain.min(2)[prepared.y_px[rows].astype(int), prepared.x_px[columns].astype(int)]
    assert np.mean(found < 128) > 0.9


def test_stroke_width_is_that_of_the_pen() -> None:
    """Strokes 3, 7 and 15 pixels wide are measured to within a tenth, straight and round."""
    for width in (3, 7, 15):
        mask = np.zeros((300, 400), np.uint8)
        mask[50 : 50 + width, 20:380] = 255
        assert stroke_width_px(mask) == pytest.approx(width, rel=0.15)
    rows, columns = np.mgrid[:300, :400]
    ring = np.abs(np.hypot(rows - 150, columns - 200) - 100) <= 3.5
    assert stroke_width_px(np.where(ring, np.uint8(255), np.uint8(0))) == pytest.approx(7, rel=0.1)


def test_shading_is_divided_out() -> None:
    """Paper becomes white everywhere, and ink stays dark."""
    levels = np.tile(np.linspace(250, 90, 600), (200, 1))
    levels[95:105, 100:500] *= 0.2
    flat = without_shading(levels.astype(np.uint8))
    assert flat[20:80].min() > 230
    assert flat[97:103, 110:490].max() < 80


def test_preparing_the_prepared_changes_little() -> None:
    """A canvas, as a picture, gives itself again."""
    canvas = prepare_signature(picture()).canvas
    assert alike(canvas, prepare_signature(255 - canvas).canvas) > 0.97


def test_only_pictures_are_taken() -> None:
    """Floats are refused by name."""
    with pytest.raises(InvalidInputError):
        find_ink(np.zeros((10, 10), np.float32))  # type: ignore[arg-type]  # what is refused
