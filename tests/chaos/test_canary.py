"""An erased subject is nowhere: not in the store's files, not in logs, not in an export, not in the gallery's memory.

The control comes first: the same search finds it in each place where it must be before, and finds somebody who stays
afterwards. What no test can hold, such as the freed memory of a process that was not told to overwrite it, is in
`docs/privacy-erasure.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest

from gallery_svc.rows import half
from gallery_svc.store.keyring import Keyring
from gallery_svc.store.redis_values import subject_place
from gallery_svc.store.sealing import Sealer
from tessera.client import Tessera
from tessera.client.answers import ErasureState
from tessera.domain.embedding import Embedding
from tessera.domain.ids import ModelId, SubjectId
from tessera.v1 import audit_pb2, gallery_pb2_grpc
from tests.chaos.canary_world import CanaryWorld, Needles, running_canary_world, until
from tests.told import tell

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]

CANARY, NEIGHBOUR = "canary", "neighbour"
NAMES = {CANARY: "Quetzalli Zq7Xw-Canary", NEIGHBOUR: "Nyameka Wv3Kt-Neighbour"}
DIMENSIONS = 128
_PIECES = (0, 48, 112)
"""Numbers from which pieces of a vector are looked for, so that one that is half overwritten is found too."""
_LIMIT_S = 180.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CanaryWorld]:
    """A Valkey and a gallery."""
    with running_canary_world(tmp_path_factory.mktemp("canary")) as running:
        yield running


def _vector(name: str) -> npt.NDArray[np.float32]:
    numbers = np.random.default_rng(list(name.encode())).normal(size=DIMENSIONS)
    return np.asarray(numbers / np.linalg.norm(numbers), dtype=np.float32)


def _embedding(name: str, model_id: str) -> Embedding:
    return Embedding.from_raw([float(value) for value in _vector(name)], ModelId(model_id))


def _in_clear(name: str) -> Needles:
    """The name, and pieces of the vector in each form that a process could hold it in."""
    rounded = half(_embedding(name, "m").vector)
    forms: dict[str, npt.NDArray[Any]] = {
        "f16": rounded,
        "f32": _embedding(name, "m").vector,
        "rounded f32": rounded.astype("<f4"),
    }
    pieces = {f"{form} from {at}": numbers[at : at + 8].tobytes() for form, numbers in forms.items() for at in _PIECES}
    return {"name": NAMES[name].encode(), **pieces}


def _sealed(name: str, redis: Any, keys: Path) -> tuple[Needles, Needles]:
    """(what the store holds of somebody, the data key that it is sealed with)."""
    hashes = [key for key in redis.scan_iter("tessera:{default/00}:*") if redis.type(key) == b"hash"]
    values = {key.decode(): redis.hget(key, name) for key in hashes if redis.hexists(key, name)}
    subjects = next(key for key in values if key.endswith(":subjects"))
    generation = str(redis.hget("tessera:{default/00}:head", "generation").decode())
    place = subject_place(generation, SubjectId(name))
    data_key = Sealer(Keyring.load(str(keys))).data_key(place, values[subjects])
    tags = {f"tag in {key}": value[-16:] for key, value in values.items()}
    return tags | {f"body in {key}": value[80:112] for key, value in values.items()}, {"data key": data_key}


def _enroll(client: Tessera, name: str, display_name: str, model_id: str) -> None:
    client.enroll(name, _embedding(name, model_id), display_name=display_name)


def _rdb(world: CanaryWorld, needles: Needles) -> dict[str, int]:
    world.redis().save()
    assert list((world.folder / "valkey").glob("*.rdb"))
    return world.in_files(needles, "valkey")


def _append_only(world: CanaryWorld, needles: Needles) -> dict[str, int]:
    for old in (world.folder / "valkey").glob("*.rdb"):
        old.unlink()  # the control's own snapshot
    return world.in_files(needles, "valkey")


def _export(world: CanaryWorld) -> bytes:
    with grpc.insecure_channel(world.address) as channel:
        stub = gallery_pb2_grpc.GalleryServiceStub(channel)
        request = audit_pb2.ExportCollectionRequest(collection_id="default")
        return b"".join(part.chunk for part in stub.ExportCollection(request))


def test_an_erased_subject_is_nowhere(world: CanaryWorld) -> None:
    """Found before, in every form; after the receipt says COMPLETE, in none, while the neighbour still is."""
    with world.client() as client:
        (collection,) = client.collections()
        for name in (CANARY, NEIGHBOUR):
            _enroll(client, name, NAMES[name], collection.model_id)
        sealed, data_key = _sealed(CANARY, world.redis(), world.folder / "kek")
        in_clear = _in_clear(CANARY)
        everything = {**in_clear, **sealed, **data_key}
        # ---- the control
        try:
            held = world.in_memory(everything)
        except PermissionError:
            pytest.skip("this machine lets nobody read a process's memory: unproved that none stays there")
        assert held.keys() >= {what for what in in_clear if not what.startswith("rounded")}
        assert world.in_files(sealed, "valkey").keys() == sealed.keys()
        assert _rdb(world, sealed).keys() == sealed.keys()
        places = len(held) + 2 * len(sealed)
        tell(
            "control: needles found in memory, the file and the snapshot before",
            places,
            "finds",
            "some",
            holds=places > 0,
        )
        # ---- the erasure
        receipt = client.delete_subject(CANARY)
        until(lambda: client.erasure_receipt(receipt.receipt_id).state is ErasureState.COMPLETE, _LIMIT_S)
    export = _export(world)
    found = {
        "logs and audit": world.in_files(everything, "logs", "audit"),
        "the append-only file": _append_only(world, everything),
        "the snapshot": _rdb(world, everything),
        "an export": {what: 1 for what, needle in everything.items() if needle in export},
    }
    for place, finds in found.items():
        tell(
            f"of {len(everything)} needles, found after the erasure in {place}",
            len(finds),
            "needles",
            "0",
            holds=not finds,
        )
    assert not any(found.values()), found
    # ---- memory: buffers of closed connections and numpy's spare blocks are used again by what comes next
    with world.client() as client:
        until(lambda: _is_forgotten(world, client, everything, collection.model_id), _LIMIT_S)
    tell(
        f"of {len(everything)} needles, found after the erasure in the gallery's memory", 0, "needles", "0", holds=True
    )
    assert {"name", *(f"f16 from {at}" for at in _PIECES)} <= world.in_memory(_in_clear(NEIGHBOUR)).keys()


_guests = iter(range(1_000_000))


def _is_forgotten(world: CanaryWorld, client: Tessera, needles: Needles, model_id: str) -> bool:
    """Whether nothing is left after a little of what a gallery does all day."""
    for _ in range(10):
        guest = f"guest-{next(_guests)}"
        _enroll(client, guest, f"Guest {guest}", model_id)
        client.identify(_embedding(guest, model_id))
    return world.in_memory(needles) == {}
