"""The gallery's settings, from `TESSERA_GALLERY_...`."""

from __future__ import annotations

from dataclasses import dataclass

from tessera.chassis.settings import require, require_address, require_log_level, require_port, require_store

PREFIX = "TESSERA_GALLERY_"


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
    """`host:port` of the encoder."""
    store: str = "redis://127.0.0.1:7379/0"
    """A redis:// URL; `memory` keeps nothing and is for tests."""
    store_timeout_s: float = 2.0
    """A store command that takes longer counts as an unavailable store."""
    max_deadline_s: float = 30.0
    """A unary call is ended after this, whatever its client asked for."""
    drain_s: float = 10.0
    """After SIGTERM, calls under way have so long to finish."""
    follow_interval_s: float = 0.25
    """How often the change logs are looked at for the writes of other galleries, and the store for its health."""
    log_kept: int = 100_000
    """Changes kept for followers, of each collection; one that is further behind loads again."""
    events_kept: int = 100_000
    """Event revisions kept."""
    audit_kept: int = 200_000
    """Audit entries kept, of each collection."""
    event_time_to_live_s: float = 5.0
    """So long after its newest capture nothing may be done because of a sighting."""
    heartbeat_s: float = 5.0
    """A watcher of events hears something at least so often; the contract says 10."""
    max_tracklets: int = 4096
    """Tracklets that are remembered at once; the one that was silent longest goes first."""
    tracklet_idle_s: float = 60.0
    """A tracklet that is silent for so long is forgotten."""
    log_level: str = "info"
    """debug, info, warning or error."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        require_port("port", self.port)
        require_port("metrics_port", self.metrics_port)
        require_address("encoder", self.encoder)
        require_store("store", self.store)
        for name in (
            "store_timeout_s",
            "max_deadline_s",
            "follow_interval_s",
            "event_time_to_live_s",
            "tracklet_idle_s",
        ):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        require(self.drain_s >= 0, "drain_s", self.drain_s, "0 or more")
        require(0 < self.heartbeat_s <= 10, "heartbeat_s", self.heartbeat_s, "more than 0, at most 10")
        for name in ("log_kept", "events_kept", "audit_kept", "max_tracklets"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require_log_level("log_level", self.log_level)
