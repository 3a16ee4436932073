"""The gallery's settings, from `TESSERA_GALLERY_...`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gallery_svc.camera_groups import CameraGroups
from gallery_svc.holding import Holding
from tessera.chassis.settings import (
    MEMORY,
    Secret,
    hide_credentials,
    require,
    require_address,
    require_log_level,
    require_port,
    require_store,
)

PREFIX = "TESSERA_GALLERY_"

EPHEMERAL_KEYS = "ephemeral"
"""Keys that are made at the start and end with the process; for the store in memory alone."""

MAX_SHARDS = 64


class SearchEngine(StrEnum):
    """Where vectors are searched."""

    EXACT = "exact"
    """In the gallery's own memory."""
    MILVUS = "milvus"
    """On a Milvus engine, which keeps them unencrypted."""


class MilvusKind(StrEnum):
    """How a Milvus engine searches."""

    FLAT = "FLAT"
    """It compares every template."""
    HNSW = "HNSW"
    """By a graph in its memory; may miss."""
    DISKANN = "DISKANN"
    """By a graph on its disks; may miss."""


class DurabilityWord(StrEnum):
    """What an acknowledged write has survived."""

    EVERYSEC = "everysec"
    """It is on the store's disk a second later."""
    ALWAYS = "always"
    """It is on the store's disk."""


class Migrating(StrEnum):
    """What is done with a store of an older schema."""

    AUTO = "auto"
    """It is migrated at the start."""
    REFUSE = "refuse"
    """The start is refused, with the command that migrates it."""


@dataclass(frozen=True, slots=True)
class GallerySettings:
    """Where the gallery listens, what it stands on, and how much it keeps."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and for metrics."""
    port: int = 7002
    """gRPC; 0 lets the system choose."""
    metrics_port: int = 9102
    """HTTP for /metrics; 0 lets the system choose."""
    encoder: str = "127.0.0.1:7001"
    """`host:port` of the encoder; of several, `dns:///host:port` or IP addresses with commas between (ADR 0032)."""
    store: str = "redis://127.0.0.1:7379/0"
    """redis://, rediss:// or unix:// for one server; sentinel://HOST:PORT,HOST:PORT/NAME for the primary that Sentinels
    name; cluster://HOST:PORT,HOST:PORT for a cluster; `memory` keeps nothing and is for tests."""
    store_timeout_s: float = 2.0
    """A store command that takes longer counts as an unavailable store."""
    keys: str = ""
    """What templates, names and pictures are sealed with: the path of a key file, or `env:NAME` for a variable that
    holds its text; `tessera keys new` makes one. Who loses it has erased everything. `ephemeral`, and nothing, are for
    the store in memory alone."""
    signing_key: str = ""
    """What receipts and checkpoints of the audit log are signed with: the path of a file, or `env:NAME`. Empty: a key
    that ends with the process, so that nobody can check the signatures later."""
    durability: DurabilityWord = DurabilityWord.ALWAYS
    """What an acknowledged write must have survived: `always` or `everysec`. A store that is set to less is refused."""
    replicas_to_wait: int = 0
    """So many replicas of the store must have a write before it is acknowledged."""
    replica_timeout_s: float = 0.5
    """A write that fewer replicas have by then is told as one of unknown outcome."""
    migrate: Migrating = Migrating.REFUSE
    """What is done with a store of an older schema: `auto` or `refuse`."""
    shards: int = 1
    """Parts that the subjects of a new collection are spread over, unless its creator says otherwise. 1 to 64; 16 is
    good on a cluster."""
    index: SearchEngine = SearchEngine.EXACT
    """Where vectors are searched: `exact`, in this process; or `milvus`, on an engine that keeps them unencrypted, also
    in its files, so that receipts of erasure stay ACCEPTED (docs/gallery-at-scale.md)."""
    milvus_uri: str = ""
    """Of the engine: `http://host:19530` or `https://host:19530`; a path that ends in `.db` is the embedded engine."""
    milvus_token: Secret = Secret("")  # noqa: RUF009 - immutable
    """`user:password` or an API key for the engine."""
    milvus_index: MilvusKind = MilvusKind.FLAT
    """How the engine searches: `FLAT` compares every template; `HNSW` and `DISKANN` may miss some."""
    holds: str = ""
    """Which shards this gallery has in memory of collections with so many, such as `0-7/16`; of collections with
    another number, and when it is empty, all. The others are asked of `peers`."""
    peers: str = ""
    """Where the other galleries of the same store answer for their shards: `host:port,...`, each their `shard_port`."""
    shard_host: str = "127.0.0.1"
    """Address to listen on for other galleries, which are told scores: never a public one."""
    shard_port: int = 7012
    """gRPC for other galleries, while `holds` is set; 0 lets the system choose."""
    max_deadline_s: float = 30.0
    """A unary call is ended after this, whatever its client asked for."""
    explain_deadline_s: float = 60.0
    """The same where a score is explained: the encoder does that behind all other work."""
    drain_s: float = 10.0
    """After SIGTERM, calls under way have so long to finish."""
    follow_interval_s: float = 0.25
    """How often the change logs are looked at for the writes of other galleries, and the store for its health."""
    max_position_wait_s: float = 2.0
    """A query that asks for a state that is not here yet waits so long for it, or until its deadline."""
    max_lag_s: float = 5.0
    """A gallery whose index is behind the store for longer is not ready; it goes on answering, and says so."""
    search_threads: int = 2
    """Threads that search large collections."""
    max_batch: int = 64
    """Searches that are done together at most."""
    max_queries: int = 256
    """Searches that may wait at once; one more is refused (QUEUE_FULL)."""
    load_processes: int = -1
    """Processes that open the sealed rows of a collection while it is loaded, beside this one. -1: none for fewer than
    50,000 subjects, else one for each processor, at most 4."""
    log_kept: int = 100_000
    """Changes kept for followers, of each collection; one that is further behind loads again."""
    events_kept: int = 100_000
    """Event revisions kept."""
    alerts_kept: int = 100_000
    """Alerts kept; the oldest go first, whatever their state."""
    alert_lease_s: float = 5.0
    """A gallery that judges events and dies is replaced by another one after so long."""
    audit_kept: int = 200_000
    """Audit entries kept, of each collection."""
    audit_dir: str = ""
    """Folder for the signed checkpoints of the audit logs, outside of the store; empty: none are written."""
    audit_second_dir: str = ""
    """A second folder for the same, on another disk; empty: none."""
    checkpoint_interval_s: float = 10.0
    """How often a checkpoint is written while there are new entries."""
    rewrite_after_erasure: bool = True
    """Have the store write its files anew after an erasure, so that the erased is in none of them."""
    erasure_interval_s: float = 2.0
    """How often erasures that are not through are looked at."""
    retention_interval_s: float = 900.0
    """How often collections with a retention are looked through for subjects whose time is over. Each look reads all of
    their subjects."""
    person_sweep_interval_s: float = 30.0
    """How often looks at persons whose time is over are removed."""
    person_rewrite_interval_s: float = 3600.0
    """So often at most the store writes its files anew because such looks went, with `rewrite_after_erasure`."""
    import_dir: str = ""
    """Folder for files that are being imported, each of them there as long as its import; empty: the system's."""
    max_import_bytes: int = 64 << 30
    """An imported file may be so large."""
    event_time_to_live_s: float = 5.0
    """So long after its newest capture nothing may be done because of a sighting."""
    heartbeat_s: float = 5.0
    """A watcher of events hears something at least so often; the contract says 10."""
    max_tracklets: int = 4096
    """Tracklets that are remembered at once; the one that was silent longest goes first."""
    tracklet_idle_s: float = 60.0
    """A tracklet that is silent for so long is forgotten."""
    link_target_rate: float = 0.01
    """Of unknown people who were not seen before, so many may be taken for somebody who was, and carry his link."""
    link_retention_s: float = 8 * 3600.0
    """So long after an unknown person was seen last he may be linked with another sighting; 0: nobody is linked."""
    camera_groups: str = ""
    """Groups of cameras in the biometric metrics, by patterns of their ids: `entrance=door-*,yard=yard-*`; the first
    that fits. Cameras in none are `other`."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        require_port("port", self.port)
        require_port("metrics_port", self.metrics_port)
        require_port("shard_port", self.shard_port)
        require_address("encoder", self.encoder)
        self._require_engine()
        for peer in self.peer_addresses:
            require_address("peers", peer)
        require(bool(Holding.parse(self.holds).total) or not self.peers, "peers", self.peers, "nobody, without `holds`")
        require_store("store", self.store, groups=True)
        self._require_keys()
        for name in (
            "store_timeout_s",
            "replica_timeout_s",
            "max_deadline_s",
            "explain_deadline_s",
            "max_position_wait_s",
            "max_lag_s",
            "follow_interval_s",
            "checkpoint_interval_s",
            "erasure_interval_s",
            "retention_interval_s",
            "person_sweep_interval_s",
            "person_rewrite_interval_s",
            "event_time_to_live_s",
            "tracklet_idle_s",
            "alert_lease_s",
        ):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        for name in ("drain_s", "replicas_to_wait"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(0 < self.link_target_rate < 1, "link_target_rate", self.link_target_rate, "more than 0, less than 1")
        require(self.link_retention_s >= 0, "link_retention_s", self.link_retention_s, "0 or more")
        require(0 < self.heartbeat_s <= 10, "heartbeat_s", self.heartbeat_s, "more than 0, at most 10")
        require(1 <= self.shards <= MAX_SHARDS, "shards", self.shards, f"1 to {MAX_SHARDS}")
        require(-1 <= self.load_processes <= 64, "load_processes", self.load_processes, "-1 to 64")
        for name in (
            "log_kept",
            "events_kept",
            "alerts_kept",
            "audit_kept",
            "max_tracklets",
            "search_threads",
            "max_batch",
            "max_queries",
            "max_import_bytes",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        CameraGroups.parse(self.camera_groups)
        require_log_level("log_level", self.log_level)

    def _require_engine(self) -> None:
        is_away = self.index is SearchEngine.MILVUS
        known = self.milvus_uri.startswith(("http://", "https://")) or self.milvus_uri.endswith(".db")
        allowed = "http://host:port, https://host:port, or a path that ends in .db"
        require(known or not is_away, "milvus_uri", hide_credentials(self.milvus_uri), allowed)
        # One table holds all of a collection: its parts are the engine's own affair.
        require(not (is_away and self.holds), "holds", self.holds, "empty, with index = milvus")

    @property
    def peer_addresses(self) -> tuple[str, ...]:
        """Each of `peers`."""
        return tuple(peer.strip() for peer in self.peers.split(",") if peer.strip())

    def _require_keys(self) -> None:
        if self.store == MEMORY:
            return
        allowed = "the path of a key file, or env:NAME; `tessera keys new` makes a key file"
        require(self.keys not in ("", EPHEMERAL_KEYS), "keys", self.keys, allowed)
