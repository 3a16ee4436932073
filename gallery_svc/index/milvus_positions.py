"""How far an engine's tables have come: for each shard the change that was applied last, kept beside the rows.

Written after the rows that it speaks of, so that it never promises too much; what lies behind it may be applied again.
One table for all indexes of an engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from gallery_svc.index.milvus_engine import MilvusEngine, pymilvus

TABLE = "tessera_positions"
Marker = dict[int, tuple[int, str]]
"""Shard -> sequence and chain of the last change applied."""

_MOST_SHARDS = 64
_NO_VECTOR = [0.0, 0.0]
"""An engine's table has a vector, whether it is searched or not."""


class MilvusPositions:
    """Markers of indexes.

    Args:
        engine: where they lie.
    """

    def __init__(self, engine: MilvusEngine) -> None:
        self._engine = engine

    def read(self, name: str) -> Marker:
        """The marker of one index; empty when it has none."""
        if not self._is_there():
            return {}
        with self._engine.session() as client:
            rows = client.query(
                TABLE,
                filter=f'name == "{name}"',
                output_fields=["shard", "sequence", "chain"],
                consistency_level="Strong",
                limit=_MOST_SHARDS,
                timeout=self._engine.timeout_s,
            )
            return {int(row["shard"]): (int(row["sequence"]), str(row["chain"])) for row in rows}

    def write(self, name: str, marker: Mapping[int, tuple[int, str]]) -> None:
        """Set the marker of these shards; others stay as they are."""
        rows = [
            {
                "place": f"{name}/{shard:02d}",
                "name": name,
                "shard": shard,
                "sequence": sequence,
                "chain": chain,
                "nothing": _NO_VECTOR,
            }
            for shard, (sequence, chain) in marker.items()
        ]
        if not self._is_there():
            self._make()
        with self._engine.session() as client:
            if rows:
                client.upsert(TABLE, rows, timeout=self._engine.timeout_s)

    def forget(self, name: str) -> None:
        """Remove the marker of one index."""
        places = [f"{name}/{shard:02d}" for shard in range(_MOST_SHARDS)]
        with self._engine.session() as client:
            if self._is_there():
                client.delete(TABLE, ids=places, timeout=self._engine.timeout_s)

    def _is_there(self) -> bool:
        return self._engine.is_ready(TABLE, ("nothing",))

    def _make(self) -> None:
        library = pymilvus()
        schema = library.MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        types = library.DataType
        schema.add_field("place", types.VARCHAR, is_primary=True, max_length=128)
        schema.add_field("name", types.VARCHAR, max_length=128)
        schema.add_field("shard", types.INT64)
        schema.add_field("sequence", types.INT64)
        schema.add_field("chain", types.VARCHAR, max_length=128)
        schema.add_field("nothing", types.FLOAT_VECTOR, dim=len(_NO_VECTOR))
        self._engine.make(TABLE, schema, {"nothing": {"index_type": "FLAT", "metric_type": "IP"}})
