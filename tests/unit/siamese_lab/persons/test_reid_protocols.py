"""The standard sets in their folders, each tiny and solved by hand; the embedding is the colour of a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from siamese_lab.persons.measuring import Measured, measure
from siamese_lab.persons.protocols import Protocol, read_set
from tessera.domain.errors import InvalidInputError


def _colour_of(crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The angle between blue and green, as a unit vector: what is nearer in the gray of a name is nearer here."""
    angle = crops[:, 0, 0, 0].astype(np.float64) * (np.pi / 2 / 255)
    return np.stack([np.cos(angle), np.sin(angle)], 1).astype(np.float32)


def _draw(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 4, 3), shade, np.uint8))


def _measured(protocol: Protocol, folder: Path) -> Measured:
    return measure(read_set(protocol, folder), _colour_of, "colour", "ImageNet", reranked=False)


def _require_solution(measured: Measured) -> None:
    """Probe 1 of camera 1 (shade 100): the mate of its camera is removed, and of what is left the mates come 1st and
    4th, junk and all: AP (1 + 2/4) / 2. Probe 2 (shade 200) finds its only mate 2nd."""
    found = measured.ranking
    assert found.probes == 2
    assert found.mean_ap == pytest.approx((0.75 + 0.5) / 2)
    assert found.mean_inp == pytest.approx((0.5 + 0.5) / 2)
    assert (found.at(1), found.at(5)) == (0.5, 1.0)
    assert measured.is_cross_domain


# (person, camera, shade); the distractor 0000 stands 2nd for probe 1, person 3 is 3rd
_PROBES = ((1, 1, 100), (2, 1, 200))
_GALLERY = ((1, 1, 101), (1, 2, 104), (0, 3, 110), (3, 2, 88), (1, 3, 60), (2, 2, 190), (3, 3, 205))


def test_market_1501_solved_by_hand(tmp_path: Path) -> None:
    """Junk (-1) beside the probe takes no place, a distractor (0000) does, and so does nothing of the same camera."""
    for number, (person, camera, shade) in enumerate(_PROBES):
        _draw(tmp_path / "query" / f"{person:04d}_c{camera}s1_{number:06d}_00.png", shade)
    for number, (person, camera, shade) in enumerate(_GALLERY):
        _draw(tmp_path / "bounding_box_test" / f"{person:04d}_c{camera}s1_{number:06d}_00.png", shade)
    _draw(tmp_path / "bounding_box_test" / "-1_c2s1_000099_00.png", 100)
    (tmp_path / "bounding_box_test" / "Thumbs.db").write_bytes(b"as in the archive")
    _require_solution(_measured(Protocol.MARKET_1501, tmp_path))


def test_cuhk03_np_solved_by_hand(tmp_path: Path) -> None:
    """The same in the new protocol's names; the folder above its two sets is refused."""
    for number, (person, camera, shade) in enumerate(_PROBES):
        _draw(tmp_path / "detected" / "query" / f"{person:04d}_c{camera}_{number}.png", shade)
    for number, (person, camera, shade) in enumerate(_GALLERY):
        _draw(tmp_path / "detected" / "bounding_box_test" / f"{person:04d}_c{camera}_{number}.png", shade)
    _require_solution(_measured(Protocol.CUHK03_NP, tmp_path / "detected"))
    with pytest.raises(InvalidInputError, match="judged apart"):
        read_set(Protocol.CUHK03_NP, tmp_path)


def test_msmt17_solved_by_hand(tmp_path: Path) -> None:
    """The same from its lists, in either of the folders that the set came in."""
    for folder in ("test", "mask_test_v2"):
        root = tmp_path / folder.replace("_", "-")
        for name, rows in (("query", _PROBES), ("gallery", _GALLERY)):
            lines = []
            for number, (person, camera, shade) in enumerate(rows):
                file = f"{person:04d}/{person:04d}_{number:03d}_{camera:02d}_0303morning_0008_0.png"
                _draw(root / folder / file, shade)
                lines.append(f"{file} {person}")
            (root / f"list_{name}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
        _require_solution(_measured(Protocol.MSMT17, root))


def test_con_reid_removes_nothing(tmp_path: Path) -> None:
    """Its camera ids carry no information: the mate of the same camera is found first, and that is kept and said."""
    _draw(tmp_path / "bounding_box_test" / "0001_c1s1_000002.png", 100)
    _draw(tmp_path / "query" / "0001_c1s1_000003.png", 101)
    _draw(tmp_path / "query" / "0002_c1s1_000003_1.png", 104)
    measured = _measured(Protocol.CON_REID, tmp_path)
    assert (measured.ranking.mean_ap, measured.same_camera_removed) == (1.0, False)


def test_figures_as_plain_values(tmp_path: Path) -> None:
    """What a file of figures holds: rates by name, and what has to be said beside them."""
    _draw(tmp_path / "bounding_box_test" / "0001_c1s1_000002.png", 100)
    for number in range(24):
        _draw(tmp_path / "query" / f"{1 + number % 2:04d}_c1s1_{number:06d}.png", 100 + number)
    one = read_set(Protocol.CON_REID, tmp_path)
    told = measure(one, _colour_of, "colour", "Con-ReID's training people", reranked=True).as_json()
    assert told["cross_domain"] is False
    assert told["gallery"] == 24
    assert set(told["ranking"]) == set(told["reranked"]) >= {"rank_1", "rank_5", "mean_ap", "mean_inp", "probes"}


@pytest.mark.parametrize(
    ("protocol", "files", "told"),
    [
        (Protocol.MARKET_1501, (), "query"),
        (Protocol.MARKET_1501, ("query/portrait.jpg",), "portrait.jpg"),
        (Protocol.MSMT17, (), "mask_test_v2"),
        (Protocol.MSMT17, ("test/a.jpg",), "list_query.txt"),
    ],
)
def test_a_folder_of_another_kind_is_refused_by_name(
    protocol: Protocol, files: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    """The error says which folder, list or name was expected."""
    for file in files:
        _draw(tmp_path / file, 1)
    with pytest.raises(InvalidInputError, match=told):
        read_set(protocol, tmp_path)


def test_a_line_of_a_list_is_refused_by_its_number(tmp_path: Path) -> None:
    """A list whose lines are no picture and person."""
    _draw(tmp_path / "test" / "a.jpg", 1)
    (tmp_path / "list_query.txt").write_text("0000/0000_000_01_0303morning_0008_0.jpg\n", encoding="ascii")
    with pytest.raises(InvalidInputError, match=r"list_query.txt:1"):
        read_set(Protocol.MSMT17, tmp_path)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Nothing is left out silently."""
    for folder in ("bounding_box_test", "query"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0001_c1s1_000002.jpg").write_bytes(b"no picture")
    with pytest.raises(InvalidInputError, match="0001_c1s1_000002"):
        _measured(Protocol.CON_REID, tmp_path)
