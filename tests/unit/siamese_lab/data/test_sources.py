"""Reading labelled pictures: files made here, read whole or refused with what is missing."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from siamese_lab.data import sources
from siamese_lab.data.cifar import read_cifar
from siamese_lab.data.folders import load_folders
from siamese_lab.data.idx import read_idx
from siamese_lab.data.sources import SOURCES, LabelledImages, Source, Split, load
from tessera.domain.errors import ImageRejectedError, InvalidInputError
from tessera.domain.reasons import Reason


def _idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---- IDX


@given(array=nps.arrays(np.uint8, nps.array_shapes(min_dims=1, max_dims=4, max_side=5)), packed=st.booleans())
def test_idx_files_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, packed: bool
) -> None:
    """Of any shape, packed or not, and what is read can be written to."""
    path = tmp_path_factory.getbasetemp() / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(_idx(array), 1) if packed else _idx(array))
    result = read_idx(path)
    np.testing.assert_array_equal(result, array)
    assert result.flags.writeable


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("short", _idx(np.zeros((3, 4), np.uint8))[:-1]),
        ("long", _idx(np.zeros((3, 4), np.uint8)) + b"0"),
        ("head", b"\x00\x00\x08"),
        ("shorts", struct.pack(">HBBI", 0, 0x0B, 1, 1) + b"00"),
        ("huge", struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)),
        ("text", b"<html>404</html>"),
        ("cut.gz", gzip.compress(_idx(np.zeros((30, 40), np.uint8)), mtime=0)[:-9]),
        ("plain.gz", _idx(np.zeros((3, 4), np.uint8))),
    ],
)
def test_damaged_idx_files_are_refused(tmp_path: Path, name: str, data: bytes) -> None:
    """Cut, too long, of another type, or no such file at all: one kind of error that names it."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="whole") as caught:
        read_idx(path)
    assert caught.value.value == str(path)


def test_an_absent_idx_file_is_refused(tmp_path: Path) -> None:
    """With the same error."""
    with pytest.raises(InvalidInputError):
        read_idx(tmp_path / "none.gz")


# ---- CIFAR


def _cifar(path: Path, pictures: list[np.ndarray], shown: list[int], /, **changed: object) -> Path:
    files = [simplejpeg.encode_jpeg(picture, quality=95, colorsubsampling="444") for picture in pictures]
    parts: dict[str, object] = {
        "jpeg": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *map(len, files)]).astype(np.int64),
        "labels": np.array(shown, np.uint8),
    }
    arrays = {f"{split}_{part}": value for split in Split for part, value in {**parts, **changed}.items()}
    np.savez(path, **arrays)
    return path


def _coloured(red: int, green: int, blue: int, side_px: int = 32) -> np.ndarray:
    return np.full((side_px, side_px, 3), (red, green, blue), np.uint8)


def test_cifar_is_decoded_in_order_and_in_rgb(tmp_path: Path) -> None:
    """Each picture has its own colour and label."""
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    images, labels = read_cifar(_cifar(tmp_path / "c.npz", [_coloured(*one) for one in colours], [3, 1, 2]), "test")
    assert (images.shape, images.dtype) == ((3, 32, 32, 3), np.uint8)
    assert (labels.tolist(), labels.dtype) == ([3, 1, 2], np.int64)
    for picture, colour in zip(images, colours, strict=True):
        assert np.abs(picture.astype(int) - colour).max() <= 4


@pytest.mark.parametrize(
    "changed",
    [
        {"offsets": np.array([0, 5, 3])},
        {"offsets": np.array([0, 10, 20])},
        {"offsets": np.array([0, 10])},
        {"labels": np.zeros((2, 1), np.uint8)},
        {"jpeg": np.array(["a", {}], dtype=object)},
    ],
    ids=["falling", "not-to-the-end", "too-few", "two-sides", "pickled"],
)
def test_cifar_files_that_do_not_fit_together_are_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    """Nothing is decoded, and no object is unpickled."""
    path = _cifar(tmp_path / "c.npz", [_coloured(9, 9, 9)] * 2, [0, 1], **changed)
    with pytest.raises(InvalidInputError):
        read_cifar(path, "train")


def test_cifar_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    """A picture of one pixel would otherwise fill its row."""
    for side_px in (1, 16, 33):
        path = _cifar(tmp_path / f"{side_px}.npz", [_coloured(9, 9, 9, side_px)] * 2, [0, 1])
        with pytest.raises(InvalidInputError, match="picture 0"):
            read_cifar(path, "train")


def test_no_cifar_file_is_refused(tmp_path: Path) -> None:
    """Absent, or something else."""
    (tmp_path / "text.npz").write_bytes(b"PK but no zip")
    for name in ("none.npz", "text.npz"):
        with pytest.raises(InvalidInputError):
            read_cifar(tmp_path / name, "train")


# ---- sources

_DIGITS = np.arange(6 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(6, 28, 28)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder with a source `small` of six digits, in a folder of its name."""
    contents = {
        f"{prefix}-{part}-ubyte.gz": _idx(array)
        for prefix in ("train", "t10k")
        for part, array in (("images-idx3", _DIGITS), ("labels-idx1", np.arange(6, dtype=np.uint8)))
    }
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    for file, data in contents.items():
        (folder / file).write_bytes(gzip.compress(data, mtime=0))
    source = Source(
        name="small",
        title="Six",
        origin="the moon",
        licence="none",
        files={file: _digest((folder / file).read_bytes()) for file in contents},
        classes=tuple("012345"),
        contents={file: _digest(data) for file, data in contents.items()},
    )
    monkeypatch.setattr(sources, "SOURCES", {"small": source})
    return tmp_path / "data"


def _same(one: LabelledImages, other: LabelledImages) -> bool:
    return bool((one.images == other.images).all() and (one.labels == other.labels).all() and one.names == other.names)


@pytest.mark.parametrize("inside", [True, False], ids=["files", "folder-of-folders"])
def test_a_source_is_read_from_its_folder_or_the_one_above(small: Path, inside: bool) -> None:
    """Pictures get a channel, labels become int64."""
    images = load("small", small / "small" if inside else small, Split.TEST)
    assert images.images.shape == (6, 28, 28, 1)
    np.testing.assert_array_equal(images.images[..., 0], _DIGITS)
    assert images.labels.tolist() == list(range(6))
    assert images.names == tuple("012345")


def test_what_is_missing_is_named_with_its_origin(small: Path) -> None:
    """The file, the source, and where it can be had."""
    (small / "small" / "train-labels-idx1-ubyte.gz").unlink()
    load("small", small, Split.TEST)
    with pytest.raises(InvalidInputError, match=r"train-labels-idx1-ubyte\.gz of small; from the moon"):
        load("small", small, Split.TRAIN)


def test_a_changed_file_is_refused(small: Path) -> None:
    """One bit is enough; the error says which file and both digests."""
    path = small / "small" / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(_idx(_DIGITS ^ np.uint8(1))))
    with pytest.raises(InvalidInputError, match="sha256") as caught:
        load("small", small, Split.TEST)
    assert caught.value.value == str(path)


def test_the_same_data_packed_otherwise_is_the_same(small: Path) -> None:
    """Debian packs Fashion-MNIST anew: what counts is what is inside."""
    before = load("small", small, Split.TEST)
    for path in (small / "small").iterdir():
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=99))
    assert _same(load("small", small, Split.TEST), before)


def test_an_unknown_source_is_refused(small: Path) -> None:
    """The error lists those there are."""
    with pytest.raises(InvalidInputError, match="small"):
        load("imagenet", small, Split.TEST)


def test_every_source_says_where_it_is_from_and_what_its_files_are() -> None:
    """With a sha256 for each file; a lossy copy says so."""
    assert set(SOURCES) == {"mnist", "fashion-mnist", "cifar10-jpeg"}
    for name, source in SOURCES.items():
        assert source.name == name
        assert source.origin
        assert source.licence
        assert len(source.classes) == len(set(source.classes)) == 10
        digests = [*source.files.values(), *source.contents.values()]
        assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)
        assert len(set(digests)) == len(digests)
    assert "lossy" in SOURCES["cifar10-jpeg"].caveat


# ---- the cache


def test_a_cache_answers_without_the_files(small: Path, tmp_path: Path) -> None:
    """Once decoded, the files are not needed; both splits are kept apart."""
    cache = tmp_path / "cache"
    before = {split: load("small", small, split, cache) for split in Split}
    for path in (small / "small").iterdir():
        path.unlink()
    for split in Split:
        after = load("small", small, split, cache)
        assert _same(after, before[split])
        assert after.labels.dtype == np.int64


def _flip_a_pixel(cache: Path) -> None:
    path = cache / "small-test.images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x99")


def _change_facts(cache: Path, key: str, value: object) -> None:
    path = cache / "small-test.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))


@pytest.mark.parametrize(
    "damage",
    [
        _flip_a_pixel,
        lambda cache: (cache / "small-test.labels.npy").unlink(),
        lambda cache: (cache / "small-test.json").write_text("{"),
        lambda cache: (cache / "small-test.json").write_text("[]"),
        lambda cache: _change_facts(cache, "files", {}),
        lambda cache: _change_facts(cache, "layout", 0),
    ],
    ids=["pixel", "no-labels", "half-facts", "no-facts", "other-files", "other-layout"],
)
def test_a_damaged_cache_is_made_anew(small: Path, tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """What is not what was written, or was made of other files, is not used; afterwards it is whole again."""
    cache = tmp_path / "cache"
    before = load("small", small, Split.TEST, cache)
    damage(cache)
    assert _same(load("small", small, Split.TEST, cache), before)
    for path in (small / "small").iterdir():
        path.unlink()
    assert _same(load("small", small, Split.TEST, cache), before)
    assert not list(cache.glob(".*"))


# ---- values


def test_a_subset_is_those_asked_for_in_their_order() -> None:
    """By numbers, by a mask, or by a list; labels and names go along."""
    images = LabelledImages(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), np.array([0, 1, 1, 0]), ("a", "b"))
    for indices in ([2, 0], np.array([2, 0])):
        chosen = images.subset(indices)
        assert (chosen.images.ravel().tolist(), chosen.labels.tolist()) == ([2, 0], [1, 0])
    assert images.subset(images.labels == 1).images.ravel().tolist() == [1, 2]
    assert len(images.subset([])) == 0


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 3, 3, 2), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 3, 3, 1), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.uint8)),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, 2])),
        (np.zeros((2, 3, 3, 1), np.uint8), np.array([0, -1])),
    ],
)
def test_pictures_and_labels_that_do_not_fit_are_refused(images: np.ndarray, labels: np.ndarray) -> None:
    """Types, shapes and the range of labels."""
    with pytest.raises(InvalidInputError):
        LabelledImages(images, labels, ("a", "b"))


# ---- folders


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def test_each_folder_is_a_class(tmp_path: Path) -> None:
    """In the order of their names; other files, hidden ones and empty folders are passed over."""
    for name, red in (("zoe/2.png", 200), ("zoe/1.PNG", 100), ("anna/x.png", 50)):
        _save(tmp_path / name, np.full((40, 40, 3), (0, 0, red), np.uint8))
    (tmp_path / "zoe" / "notes.txt").write_text("no picture")
    (tmp_path / "zoe" / ".hidden.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".cache").mkdir()
    images = load_folders(tmp_path, 32, 3)
    assert images.names == ("anna", "zoe")
    assert images.labels.tolist() == [0, 1, 1]
    assert images.images.shape == (3, 32, 32, 3)
    assert images.images[:, 0, 0, 0].tolist() == [50, 100, 200]  # red first
    assert not images.images[..., 1:].any()


def test_pictures_of_any_shape_become_squares(tmp_path: Path) -> None:
    """Stretched: what is at each corner stays there; gray has one channel."""
    picture = np.zeros((80, 40, 3), np.uint8)
    picture[40:, 20:] = 255
    _save(tmp_path / "a" / "1.png", picture)
    for side_px in (20, 60):
        gray = load_folders(tmp_path, side_px, 1).images
        assert gray.shape == (1, side_px, side_px, 1)
        assert gray[0, -1, -1, 0] == 255
        assert gray[0, 0, -1, 0] == gray[0, -1, 0, 0] == 0


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    """Class and file, and the reason."""
    _save(tmp_path / "a" / "1.jpg", np.full((40, 40, 3), 90, np.uint8))
    whole = (tmp_path / "a" / "1.jpg").read_bytes()
    (tmp_path / "a" / "2.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageRejectedError) as caught:
        load_folders(tmp_path, 32, 1)
    assert (caught.value.field, caught.value.reason) == ("a/2.jpg", Reason.TRUNCATED_IMAGE)


def test_what_is_no_folder_of_folders_is_refused(tmp_path: Path) -> None:
    """Absent, or without a picture; and sizes and channels that are none."""
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InvalidInputError, match="folder of folders"):
            load_folders(root, 32, 1)
    for side_px, channels in ((0, 1), (2000, 1), (32, 2)):
        with pytest.raises(InvalidInputError):
            load_folders(tmp_path, side_px, channels)
