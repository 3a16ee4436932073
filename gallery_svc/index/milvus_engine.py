"""The connection to a Milvus engine, and one of its tables: each call with a time limit, all reads strongly consistent.

`pymilvus` is an extra, so it is imported when an engine is first spoken to. Whatever keeps the engine from answering is
an `UnavailableError("milvus")`; what it says in its errors is not passed on, only its code.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import grpc
import numpy as np

from gallery_svc.index.milvus_rows import Found
from tessera.domain.embedding import MAX_DIMENSIONS, Vector
from tessera.domain.errors import InvalidInputError, UnavailableError
from tessera.domain.ids import SubjectId, TemplateId

Untyped: TypeAlias = Any
"""Something of pymilvus, which ships no types."""

MOST_ROWS = 16_384
"""The most rows that a server returns for one probe, unless its quotas were changed."""
_ANSWER_BYTES = 64 * 1024 * 1024
_REQUEST_BYTES = 8 * 1024 * 1024
_ROW_BYTES = 512
_ID_BYTES = 512
_MOST_VALUES = 1024
_METRIC = "COSINE"
"""Not the inner product: float16 rows are off length 1 by up to 5e-4, and the ranking divides by it."""
_INDEXED = ("vector", "subject")
_SHOWN = ["subject_id", "template_id", "vector"]


class EngineIndex(StrEnum):
    """How the engine searches."""

    FLAT = "FLAT"
    """Every row is compared."""
    HNSW = "HNSW"
    """A graph in the engine's memory; may miss."""
    DISKANN = "DISKANN"
    """A graph on the engine's disks; may miss. Not in the embedded engine."""


_BUILD = {EngineIndex.FLAT: {}, EngineIndex.HNSW: {"M": 16, "efConstruction": 200}, EngineIndex.DISKANN: {}}


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Where the engine is, and who asks."""

    uri: str
    """`http://host:port`, `https://host:port`, or the path of an embedded engine's folder, which ends in `.db`."""
    token: str = ""
    """`user:password` or an API key."""
    database: str = ""
    """The engine's database; empty: its default."""
    timeout_s: float = 2.0
    """A call that takes longer counts as an engine that is away."""
    patience_s: float = 30.0
    """The same for what makes, drops or tidies a whole table; no search waits for these."""


class MilvusEngine:
    """One engine. Connects when it is first used, and again after it was away.

    Args:
        address: where it is.
    """

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._client: Untyped = None
        self._connecting = threading.Lock()

    @property
    def timeout_s(self) -> float:
        """What a call may take."""
        return self._address.timeout_s

    @property
    def patience_s(self) -> float:
        """What making, dropping or tidying a table may take."""
        return self._address.patience_s

    @contextmanager
    def session(self) -> Iterator[Untyped]:
        """A connected `MilvusClient`, for one call or a few.

        Raises:
            InvalidInputError: pymilvus is not installed.
            UnavailableError: the engine does not answer, or refuses.
        """
        library = pymilvus()
        try:
            yield self._connected(library)
        except library.MilvusException as error:
            if isinstance(error, library.exceptions.ParamError):
                raise  # a call that we made wrongly
            # All others, whatever the engine calls the caller's fault: so it calls a table that it has not loaded yet.
            raise UnavailableError("milvus", f"code {_code(error)}") from error
        except grpc.RpcError as error:
            raise UnavailableError("milvus", f"code {_code(error)}") from error

    def is_ready(self, name: str, indexed: Sequence[str]) -> bool:
        """Whether a table is there with all of its indexes; then it can be searched when this returns."""
        with self.session() as client:
            if not client.has_collection(name, timeout=self.timeout_s):
                return False
            if not set(indexed) <= set(client.list_indexes(name, timeout=self.timeout_s)):
                return False
            client.load_collection(name, timeout=self.timeout_s)
            return True

    def make(self, name: str, schema: Untyped, indexes: Mapping[str, Mapping[str, object]]) -> None:
        """Make a table, or finish one whose making was interrupted.

        Args:
            name: letters, digits and underscores.
            schema: its fields.
            indexes: how each field is indexed that is.
        """
        with self.session() as client:
            if not client.has_collection(name, timeout=self.timeout_s):
                client.create_collection(name, schema=schema, consistency_level="Strong", timeout=self.patience_s)
            there = client.list_indexes(name, timeout=self.timeout_s)
            params = client.prepare_index_params()
            for field in indexes.keys() - set(there):
                params.add_index(field, index_name=field, **indexes[field])
            # Not waited for: the table is empty, and loading it waits for what it needs.
            if len(params):
                client.create_index(name, params, timeout=self.patience_s, sync=False)
            client.load_collection(name, timeout=self.patience_s)

    def close(self) -> None:
        """End the connection; the next call begins another."""
        with self._connecting:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self, library: Untyped) -> Untyped:
        with self._connecting:
            if self._client is None:
                address = self._address
                self._client = library.MilvusClient(
                    uri=address.uri,
                    token=address.token,
                    db_name=address.database,
                    timeout=address.timeout_s,
                    dedicated=True,
                )
            return self._client


class MilvusTable:
    """One of the engine's collections, with the rows of one index.

    Args:
        engine: where it lies.
        name: letters, digits and underscores.
        kind: how it is searched.
    """

    def __init__(self, engine: MilvusEngine, name: str, kind: EngineIndex) -> None:
        self._engine = engine
        self._name = name
        self._kind = kind
        self._dimensions: int | None = None

    @property
    def name(self) -> str:
        """As the engine knows it."""
        return self._name

    def dimensions(self) -> int | None:
        """Of its vectors; None while there is no such table. Makes it ready to be searched when it is there."""
        if self._dimensions is None:
            with self._session() as client:
                if not self._engine.is_ready(self._name, _INDEXED):
                    return None
                fields = client.describe_collection(self._name, timeout=self._engine.timeout_s)["fields"]
            self._dimensions = next(int(field["params"]["dim"]) for field in fields if field["name"] == "vector")
        return self._dimensions

    def forget(self) -> None:
        """Ask the engine anew whether the table is there."""
        self._dimensions = None

    def create(self, dimensions: int) -> None:
        """Make the table, empty and searchable."""
        vector: dict[str, object] = {
            "index_type": self._kind.value,
            "metric_type": "COSINE",
            "params": _BUILD[self._kind],
        }
        indexes: dict[str, dict[str, object]] = {"vector": vector, "subject": {"index_type": "INVERTED"}}
        self._engine.make(self._name, _schema(pymilvus(), dimensions), indexes)
        self._dimensions = dimensions

    def drop(self) -> None:
        """Remove the table with everything in it; one that is not there is no error."""
        with self._session() as client:
            if client.has_collection(self._name, timeout=self._engine.timeout_s):
                client.drop_collection(self._name, timeout=self._engine.patience_s)
        self._dimensions = None

    def upsert(self, rows: Sequence[dict[str, object]]) -> None:
        """Write rows; those of the same keys are replaced."""
        at_once = self._rows_within(_REQUEST_BYTES)
        with self._session() as client:
            for first in range(0, len(rows), at_once):
                client.upsert(self._name, list(rows[first : first + at_once]), timeout=self._engine.timeout_s)

    def insert(self, rows: Sequence[dict[str, object]]) -> None:
        """Write rows whose keys are new; quicker than `upsert`."""
        at_once = self._rows_within(_REQUEST_BYTES)
        with self._session() as client:
            for first in range(0, len(rows), at_once):
                client.insert(self._name, list(rows[first : first + at_once]), timeout=self._engine.timeout_s)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the rows of these keys."""
        with self._session() as client:
            for first in range(0, len(keys), MOST_ROWS):
                client.delete(self._name, ids=list(keys[first : first + MOST_ROWS]), timeout=self._engine.timeout_s)

    def count(self, expression: str = "") -> int:
        """How many rows meet the expression."""
        with self._session() as client:
            return int(self._query(client, expression, ["count(*)"])[0]["count(*)"])

    def keys(self, expression: str) -> dict[str, bool]:
        """The keys of the rows that meet the expression, and whether each is its subject's first."""
        with self._session() as client:
            return {str(row["row"]): bool(row["first"]) for row in self._query(client, expression, ["row", "first"])}

    def rows(self, expression: str) -> Found:
        """The rows that meet the expression, in no order and with scores of 0; at most as many as an answer holds."""
        limit = self.most_rows()
        with self._session() as client:
            return _found([(row, 0.0) for row in self._query(client, expression, _SHOWN, limit)])

    def nearest(self, probes: Sequence[Vector], asked: int, expression: str) -> list[Found]:
        """For each probe the rows of the largest cosine similarity, best first.

        Args:
            probes: each of shape (d,).
            asked: rows for each; at most `most_rows`, together for all of them.
            expression: which rows may be found; empty: all.
        """
        with self._session() as client:
            answers = client.search(
                self._name,
                data=list(probes),
                anns_field="vector",
                limit=asked,
                filter=expression,
                output_fields=_SHOWN,
                search_params={"metric_type": _METRIC, "params": self._effort(asked)},
                consistency_level="Strong",
                timeout=self._engine.timeout_s,
            )
        return [_found([(hit["entity"], hit["distance"]) for hit in hits]) for hits in answers]

    def most_rows(self) -> int:
        """The most rows that one answer may hold, with their vectors."""
        return min(MOST_ROWS, self._rows_within(_ANSWER_BYTES))

    def compact(self) -> None:
        """Ask the engine to write its files anew without what was removed; it does so when it likes."""
        with self._session() as client:
            client.flush(self._name, timeout=self._engine.patience_s)
            client.compact(self._name, timeout=self._engine.patience_s)

    @contextmanager
    def _session(self) -> Iterator[Untyped]:
        try:
            with self._engine.session() as client:
                yield client
        except UnavailableError:
            # An engine that comes back may have the table no longer, or not ready to be searched.
            self._dimensions = None
            raise

    def _query(self, client: Untyped, expression: str, fields: list[str], limit: int | None = None) -> Untyped:
        more = {} if limit is None else {"limit": limit}
        return client.query(
            self._name,
            filter=expression,
            output_fields=fields,
            consistency_level="Strong",
            timeout=self._engine.timeout_s,
            **more,
        )

    def _effort(self, asked: int) -> dict[str, int]:
        if self._kind is EngineIndex.HNSW:
            return {"ef": max(128, 2 * asked)}
        if self._kind is EngineIndex.DISKANN:
            return {"search_list": max(128, 2 * asked)}
        return {}

    def _rows_within(self, size_bytes: int) -> int:
        return max(1, size_bytes // (4 * (self._dimensions or MAX_DIMENSIONS) + _ROW_BYTES))


def pymilvus() -> Untyped:
    """The library.

    Raises:
        InvalidInputError: it is not installed.
    """
    try:
        return importlib.import_module("pymilvus")
    except ImportError as error:
        install = "exact; or milvus after: pip install 'tessera[gallery-milvus]'"
        raise InvalidInputError("index", "milvus", install) from error


def _schema(library: Untyped, dimensions: int) -> Untyped:
    schema = library.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    types = library.DataType
    schema.add_field("row", types.VARCHAR, is_primary=True, max_length=32)
    schema.add_field("subject", types.VARCHAR, max_length=32)
    schema.add_field("subject_id", types.VARCHAR, max_length=_ID_BYTES)
    schema.add_field("template_id", types.VARCHAR, max_length=_ID_BYTES)
    schema.add_field("first", types.BOOL)
    for name in ("labels", "cameras"):
        schema.add_field(name, types.ARRAY, element_type=types.VARCHAR, max_capacity=_MOST_VALUES, max_length=32)
    schema.add_field("valid_from", types.INT64)
    schema.add_field("valid_until", types.INT64)
    schema.add_field("vector", types.FLOAT_VECTOR, dim=dimensions)
    return schema


def _found(rows: Sequence[tuple[Untyped, float]]) -> Found:
    vectors = np.array([row["vector"] for row, _ in rows], np.float16)  # nothing is rounded: it was float16 before
    return Found(
        [SubjectId(row["subject_id"]) for row, _ in rows],
        [TemplateId(row["template_id"]) for row, _ in rows],
        vectors,
        np.array([score for _, score in rows], np.float64),
    )


def _code(error: Untyped) -> str:
    code = error.code
    return str(code() if callable(code) else code)
