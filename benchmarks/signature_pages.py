"""Drawn pages with signatures on them: letters, forms, cheques, tables, stamps, as a scanner or a phone sees them.

Nothing of a data set is in them unless the caller hands in strokes of its own. What is printed uses OpenCV's stroke
fonts and, where matplotlib is installed, the typefaces that it brings along. A page's truth is the box of each
signature's own pixels after all bending, not of the field that it stands in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.pen_strokes import Rng, Strokes, pen_signature
from benchmarks.typefaces import Typeface
from tessera.imaging.pixels import Bytes

Box = tuple[int, int, int, int]
"""Left, top, width, height."""
Place = tuple[float, float]
Colour = tuple[int, int, int]
SignatureSource = Callable[[Rng], Strokes]

_WORDS = (
    "the", "of", "agreement", "party", "shall", "tenant", "payment", "account", "number", "within", "days", "notice",
    "address", "branch", "total", "amount", "due", "date", "invoice", "reference", "contract", "between", "insured",
    "policy", "hereby", "declare", "information", "provided", "correct", "knowledge", "signed", "witness", "customer",
    "Bank", "Berlin", "Street", "2024", "1,250.00", "No.", "37", "VAT", "net", "gross", "item", "price", "terms",
    "and", "conditions", "apply", "please", "return", "this", "form", "by", "post", "to", "office", "responsible",
    "I", "Jung", "Quality", "for", "a", "is", "in", "with",
)  # fmt: skip
_INKS = ((30, 25, 20), (60, 50, 45), (140, 60, 20), (120, 40, 30), (90, 30, 60))
_STAMP_INKS = ((40, 30, 190), (150, 50, 40), (130, 40, 110), (60, 120, 40))


@dataclass(frozen=True, slots=True)
class Kind:
    """What a page shows, and how it is seen."""

    name: str = "letter"
    """letter, form, table, cheque or blank."""
    signatures: int = 1
    stamp: bool = False
    logo: bool = False
    rotation_degrees: float = 0.0
    perspective: float = 0.0
    """How far corners move, as a share of the side."""
    shading: float = 0.0
    """How much darker the darkest corner is, in [0, 1)."""
    desk: bool = False
    """The page lies on something dark."""
    noise: float = 0.0
    jpeg: int = 0
    """Quality; 0: not compressed."""
    faint: float = 1.0
    """Of the signatures' ink, in (0, 1]."""


@dataclass(slots=True, eq=False)
class Page:
    """A picture and where its signatures are."""

    picture: Bytes
    boxes: list[Box] = field(default_factory=list)
    inked: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """(n, 2) for each signature: x and y of its pixels, before the page is bent."""
    kind: Kind = Kind()


def draw_page(kind: Kind, rng: Rng, source: SignatureSource | None = None) -> Page:
    """Draw a page and look at it.

    Args:
        kind: what is on it.
        rng: draws.
        source: of strokes; None: `pen_signature`.

    Returns:
        uint8 (height, width, 3), blue, green, red, and the truth.
    """
    height, width = {"cheque": (720, 1600), "form": (1500, 1150)}.get(kind.name, (2000, 1500))
    tone = rng.integers(225, 256) + rng.integers(-8, 1, 3)
    page = Page(np.full((height, width, 3), np.clip(tone, 0, 255), np.uint8), kind=kind)
    _FILLERS[kind.name](page, rng, source or pen_signature)
    if kind.logo:
        _logo(page, rng)
    if kind.stamp:
        _stamp(page, rng)
    return _seen(page, rng)


def any_kind(rng: Rng, signatures: int | None = None) -> Kind:
    """Draw a kind of page.

    Args:
        rng: draws.
        signatures: how many; None: 1 to 3.
    """
    phone = bool(rng.random() < 0.5)
    return Kind(
        name=str(rng.choice(["letter", "form", "table", "cheque"])),
        signatures=int(rng.integers(1, 4)) if signatures is None else signatures,
        stamp=bool(rng.random() < 0.4),
        logo=bool(rng.random() < 0.4),
        rotation_degrees=float(rng.uniform(-15, 15)) if phone else float(rng.normal(0, 1.0)),
        perspective=float(rng.uniform(0, 0.04)) if phone else 0.0,
        shading=float(rng.uniform(0.1, 0.55)) if phone else 0.0,
        desk=phone and bool(rng.random() < 0.5),
        noise=float(rng.uniform(1, 6)),
        jpeg=int(rng.integers(40, 95)),
        faint=float(rng.uniform(0.5, 1.0)),
    )


# ---- what is printed


def printed_cut(rng: Rng) -> Bytes:
    """A picture of one printed line, as a form's caption or a heading is cut out.

    Args:
        rng: draws.

    Returns:
        uint8 (height, width).
    """
    type_ = Typeface.draw(int(rng.integers(20, 90)), rng)
    ink = type_.printed(_sentence(int(rng.integers(1, 6)), rng))
    return np.pad((255 - rng.uniform(130, 250) * ink).astype(np.uint8), int(rng.integers(10, 60)), constant_values=255)


def _lay(page: Page, ink: Strokes, at: Place, colour: Colour, strength: float = 1.0) -> Box:
    """Blend ink into the page; the box that it took."""
    left, top = max(0, int(at[0])), max(0, int(at[1]))
    height, width = (
        max(0, min(a, b))
        for a, b in zip(ink.shape, (page.picture.shape[0] - top, page.picture.shape[1] - left), strict=True)
    )
    place = page.picture[top : top + height, left : left + width]
    covered = (ink[:height, :width] * strength)[..., None]
    place[:] = np.minimum(place, place * (1 - covered) + np.array(colour) * covered).astype(np.uint8)
    return left, top, width, height


def _sentence(count: int, rng: Rng) -> str:
    return " ".join(str(word) for word in rng.choice(_WORDS, count))


def _text(page: Page, at: Place, width: float, type_: Typeface, words: str) -> int:
    """One line, of whole words where it is long; the height that it took."""
    ink = type_.printed(words)
    while ink.shape[1] > width and words.count(" ") > 2:
        words = words.rsplit(" ", 1)[0]
        ink = type_.printed(words)
    _lay(page, ink[:, : int(width)], at, (25, 25, 25), 0.92)
    return int(ink.shape[0])


def _paragraphs(page: Page, at: tuple[int, int], right: int, bottom: int, rng: Rng) -> int:
    x, y = at
    type_ = Typeface.draw(int(rng.integers(18, 34)), rng)
    step = round(type_.size_px * rng.uniform(1.25, 1.7))
    while y + step < bottom:
        for _ in range(int(rng.integers(2, 9))):
            if y + step >= bottom:
                break
            width = (right - x) * (rng.uniform(0.3, 1.0) if rng.random() < 0.25 else 1.0)
            _text(page, (x, y), width, type_, _sentence(14, rng))
            y += step
        y += step
    return y


def _rule(page: Page, x: int, y: int, right: int, rng: Rng) -> None:
    colour = int(rng.integers(20, 130))
    if rng.random() < 0.15:
        for dot in range(x, right, 9):
            cv2.circle(page.picture, (dot, y), 1, (colour,) * 3, -1, cv2.LINE_AA)
        return
    cv2.line(page.picture, (x, y), (right, y), (colour,) * 3, int(rng.integers(1, 4)))


def _sign(page: Page, at: tuple[int, int], width: int, rng: Rng, ink: Strokes, *, rule: bool) -> None:
    """A signature whose base is near a line, with a caption under it."""
    x, y = at
    if ink.shape[1] > width:
        factor = width / ink.shape[1]
        ink = cv2.resize(ink, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA).astype(np.float32)
    if rule:
        _rule(page, x, y, x + width, rng)
    caption = Typeface.draw(int(rng.integers(16, 24)), rng)
    label = str(rng.choice(["Signature", "Place, date, signature", "Authorised signatory", "Name (block letters)"]))
    _text(page, (x, y + int(rng.integers(10, 20))), width, caption, label)
    left = x + int(rng.integers(0, max(1, width - ink.shape[1] + 1)))
    top = y - ink.shape[0] + (int(rng.integers(-12, 22)) if rule else 0)
    colour = _INKS[int(rng.integers(len(_INKS)))]
    left, top, wide, high = _lay(page, ink, (left, top), colour, page.kind.faint)
    rows, columns = np.nonzero(ink[:high, :wide] > 0.4)
    page.inked.append(np.stack((columns + left, rows + top), 1).astype(np.float32))


def _letter(page: Page, rng: Rng, source: SignatureSource) -> None:
    height, width = page.picture.shape[:2]
    margin, count = int(rng.integers(90, 180)), page.kind.signatures
    heading = Typeface.draw(int(rng.integers(36, 80)), rng)
    y = 110 + _text(page, (margin, 110), width - 2 * margin, heading, _sentence(int(rng.integers(1, 4)), rng)) + 40
    field_px = 330
    end = _paragraphs(page, (margin, y), width - margin, int(height * rng.uniform(0.35, 0.62)), rng)
    rule = bool(rng.random() < 0.6)
    for at in range(count):
        column, row = at % 2, at // 2
        x = margin + column * (width - 2 * margin) // 2
        place = (x, end + 240 + row * field_px)
        _sign(page, place, min(600, (width - 2 * margin) // 2 - 60), rng, source(rng), rule=rule)
    start = end + 320 + (max(1, count) - 1) // 2 * field_px
    if start < height - 300:
        _paragraphs(page, (margin, start), width - margin, height - 110, rng)


def _form(page: Page, rng: Rng, source: SignatureSource) -> None:
    height, width = page.picture.shape[:2]
    heading = Typeface.draw(int(rng.integers(34, 56)), rng)
    _text(page, (80, 70), width - 160, heading, "APPLICATION " + _sentence(1, rng))
    type_, y = Typeface.draw(int(rng.integers(18, 28)), rng), 200
    fields = height - 330 - 260 * ((page.kind.signatures + 1) // 2)
    while y < fields:
        _text(page, (80, y - type_.size_px), 250, type_, _sentence(2, rng) + ":")
        if rng.random() < 0.5:
            _rule(page, 360, y + 8, width - 80, rng)
        else:
            cv2.rectangle(page.picture, (360, y - 40), (width - 80, y + 14), (60, 60, 60), int(rng.integers(1, 3)))
        if rng.random() < 0.6:
            _text(page, (375, y - type_.size_px), width - 470, type_, _sentence(int(rng.integers(1, 5)), rng))
        y += 75
    boxed = bool(rng.random() < 0.5)
    for at in range(page.kind.signatures):
        x, base = 80 + at % 2 * (width // 2 - 40), fields + 230 + at // 2 * 260
        if boxed:
            cv2.rectangle(
                page.picture, (x, base - 215), (x + width // 2 - 120, base + 25), (50, 50, 50), int(rng.integers(1, 4))
            )
            _text(page, (x + 8, base - 208), 300, Typeface.draw(16, rng), "Signature")
        _sign(page, (x + 15, base), width // 2 - 150, rng, source(rng), rule=not boxed)


def _table(page: Page, rng: Rng, source: SignatureSource) -> None:
    height, width = page.picture.shape[:2]
    type_ = Typeface.draw(int(rng.integers(18, 28)), rng)
    columns = np.linspace(100, width - 100, int(rng.integers(4, 7))).astype(int)
    rows = np.arange(260, int(height * 0.55), int(rng.integers(46, 80)))
    for x in columns:
        cv2.line(page.picture, (int(x), int(rows[0])), (int(x), int(rows[-1])), (40, 40, 40), 2)
    for y in rows:
        cv2.line(page.picture, (int(columns[0]), int(y)), (int(columns[-1]), int(y)), (40, 40, 40), 2)
    for y in rows[:-1]:
        for left, right in itertools.pairwise(columns):
            if rng.random() < 0.8:
                _text(page, (left + 10, y + 10), right - left - 20, type_, _sentence(int(rng.integers(1, 3)), rng))
    _text(page, (100, 120), width - 200, Typeface.draw(48, rng), "Invoice " + _sentence(1, rng))
    for at in range(page.kind.signatures):
        place = (110 + at % 2 * 680, int(rows[-1]) + 290 + at // 2 * 300)
        _sign(page, place, 560, rng, source(rng), rule=bool(rng.random() < 0.7))


def _cheque(page: Page, rng: Rng, source: SignatureSource) -> None:
    height, width = page.picture.shape[:2]
    if rng.random() < 0.6:
        x = np.arange(width)
        for y in range(30, height, 14):
            wave = y + 10 * np.sin(x / rng.uniform(25, 60))
            cv2.polylines(
                page.picture, [np.stack((x, wave), 1).astype(np.int32)], False, (215, 225, 200), 1, cv2.LINE_AA
            )
    cv2.rectangle(page.picture, (12, 12), (width - 12, height - 12), (90, 90, 90), 2)
    type_ = Typeface.draw(int(rng.integers(20, 30)), rng)
    _text(page, (60, 50), 700, Typeface.draw(44, rng), "National Bank")
    for y, label in ((200, "Pay"), (290, "Sum"), (380, "Memo")):
        _text(page, (60, y - 20), 100, type_, label)
        _rule(page, 160, y + 12, 1000, rng)
        _text(page, (180, y - 22), 700, type_, _sentence(4, rng))
    cv2.rectangle(page.picture, (1120, 170), (1520, 240), (50, 50, 50), 2)
    _text(page, (1140, 185), 360, Typeface.draw(34, rng), "1,250.00")
    _text(page, (60, height - 70), 900, Typeface("DejaVuSansMono.ttf", 0, 34), ":0012340: 998877665 :01")
    places = ((900, height - 110), (160, height - 110))
    for place in places[: page.kind.signatures]:
        _sign(page, place, 600, rng, source(rng), rule=True)


def _blank(page: Page, rng: Rng, source: SignatureSource) -> None:
    for at in range(page.kind.signatures):
        _sign(page, (200 + at % 2 * 600, 500 + at // 2 * 400), 560, rng, source(rng), rule=False)


_FILLERS = {"letter": _letter, "form": _form, "table": _table, "cheque": _cheque, "blank": _blank}


def _free(page: Page, size: int, rng: Rng) -> tuple[int, int]:
    """A place for something round that hides no signature."""
    height, width = page.picture.shape[:2]
    for _ in range(200):
        x, y = int(rng.integers(0, width - size)), int(rng.integers(0, height - size))
        near = (
            (points[:, 0] > x - 20)
            & (points[:, 0] < x + size + 20)
            & (points[:, 1] > y - 20)
            & (points[:, 1] < y + size + 20)
            for points in page.inked
        )
        if not any(bool(hit.any()) for hit in near):
            return x, y
    return width - size, 0


def _stamp(page: Page, rng: Rng) -> None:
    size = int(rng.integers(180, 300))
    ink = np.zeros((size, size), np.uint8)
    middle, colour = (size // 2, size // 2), _STAMP_INKS[int(rng.integers(len(_STAMP_INKS)))]
    if rng.random() < 0.6:
        for radius in (size // 2 - 6, size // 2 - 16, size // 4):
            cv2.circle(ink, middle, radius, 255, int(rng.integers(2, 5)), cv2.LINE_AA)
        for angle in range(0, 360, 20):
            letter = np.zeros_like(ink)
            cv2.putText(letter, str(rng.choice(list("ABEKMRST"))), (size // 2 - 8, 40), 0, 0.8, 255, 2, cv2.LINE_AA)
            turn = cv2.getRotationMatrix2D(middle, angle, 1.0)
            ink = np.maximum(ink, cv2.warpAffine(letter, turn, (size, size)).astype(np.uint8))
    else:
        cv2.rectangle(ink, (8, size // 3), (size - 8, 2 * size // 3), 255, 4)
        cv2.putText(
            ink, str(rng.choice(["PAID", "COPY", "RECEIVED"])), (18, size // 2 + 12), 0, size / 220, 255, 3, cv2.LINE_AA
        )
        turn = cv2.getRotationMatrix2D(middle, rng.uniform(-25, 25), 1.0)
        ink = cv2.warpAffine(ink, turn, (size, size)).astype(np.uint8)
    x, y = _free(page, size, rng)
    strength = float(rng.uniform(0.5, 0.9))
    _lay(page, ink.astype(np.float32) / np.float32(255), (x, y), colour, strength)


def _logo(page: Page, rng: Rng) -> None:
    size = int(rng.integers(90, 200))
    ink = np.zeros((size, size), np.uint8)
    middle = (size // 2, size // 2)
    shape = int(rng.integers(3))
    if shape == 0:
        cv2.circle(ink, middle, size // 2 - 4, 255, -1, cv2.LINE_AA)
        cv2.ellipse(ink, middle, (size // 3, size // 6), float(rng.uniform(0, 180)), 0, 360, 0, -1, cv2.LINE_AA)
    elif shape == 1:
        points = rng.integers(4, size - 4, (int(rng.integers(3, 7)), 2))
        cv2.fillPoly(ink, [cv2.convexHull(points.astype(np.int32))], 255, cv2.LINE_AA)
    else:
        for radius in range(size // 2 - 4, 8, -14):
            cv2.ellipse(ink, middle, (radius, radius // 2 + 4), 30, 0, 360, 255, 5, cv2.LINE_AA)
    x, y = _free(page, size, rng)
    blue, green, red = (int(level) for level in rng.integers(20, 160, 3))
    _lay(page, ink.astype(np.float32) / np.float32(255), (x, y), (blue, green, red))


# ---- how it is seen


def _seen(page: Page, rng: Rng) -> Page:
    kind = page.kind
    height, width = page.picture.shape[:2]
    matrix = _view(kind, height, width, rng)
    ground = (70, 80, 95) if kind.desk else tuple(int(v) for v in page.picture[0, 0])
    flags = cv2.INTER_AREA if matrix[0, 0] < 1 else cv2.INTER_LINEAR
    bent = cv2.warpPerspective(page.picture, matrix, (width, height), flags=flags, borderValue=ground).astype(
        np.float32
    )
    if kind.shading:
        rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
        towards = rng.uniform(0, 2 * np.pi)
        slope = (np.cos(towards) * (columns / width - 0.5) + np.sin(towards) * (rows / height - 0.5)) / 0.7
        bent *= np.clip(1.0 - kind.shading * (0.5 + 0.5 * slope), 0.2, 1.0)[..., None].astype(np.float32)
    if kind.noise:
        grain = rng.standard_normal((height, width, 1), dtype=np.float32)
        bent += cv2.GaussianBlur(grain, (0, 0), 0.6)[..., None] * (kind.noise * 2)
    picture = np.clip(bent, 0, 255).astype(np.uint8)
    if kind.jpeg:
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, kind.jpeg])
        picture = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    boxes = [_box_of(cv2.perspectiveTransform(points[None], matrix)[0]) for points in page.inked]
    return Page(picture, boxes, page.inked, kind)


def _view(kind: Kind, height: int, width: int, rng: Rng) -> npt.NDArray[np.float64]:
    """(3, 3): from the page as drawn to the picture; the page is made small enough to stay in it."""
    angle = np.deg2rad(kind.rotation_degrees)
    reach_x = width * abs(np.cos(angle)) + height * abs(np.sin(angle))
    reach_y = width * abs(np.sin(angle)) + height * abs(np.cos(angle))
    scale = min(width / reach_x, height / reach_y) * (0.94 if kind.desk else 1.0)
    turn = np.vstack((cv2.getRotationMatrix2D((width / 2, height / 2), -kind.rotation_degrees, scale), [0, 0, 1]))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + (rng.uniform(-1, 1, (4, 2)) * kind.perspective * (width, height)).astype(np.float32)
    bend = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    matrix: npt.NDArray[np.float64] = turn @ bend
    return matrix


def _box_of(points: npt.NDArray[np.float32]) -> Box:
    low, high = np.floor(points.min(0)).astype(int), np.ceil(points.max(0)).astype(int)
    return int(low[0]), int(low[1]), int(high[0] - low[0]) + 1, int(high[1] - low[1]) + 1
