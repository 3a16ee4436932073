"""What gateway_svc can be told, from `TESSERA_GATEWAY_*`, and nothing else; the targets have a file of their own."""

from __future__ import annotations

from dataclasses import dataclass

from gateway_svc.networks import parse_networks
from gateway_svc.outbox import OutboxLimits
from tessera.chassis.server import ServerSettings
from tessera.chassis.settings import (
    Secret,
    require,
    require_address,
    require_log_level,
    require_port,
    require_store,
)
from tessera.trust.webhook_signature import SHORTEST_SECRET

PREFIX = "TESSERA_GATEWAY_"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """One gateway_svc process."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and for metrics."""
    port: int = 7004
    """gRPC; 0 lets the system choose."""
    metrics_port: int = 9104
    """HTTP for /metrics; 0 lets the system choose."""
    max_deadline_s: float = 30.0
    """A call is ended after this, whatever its client asked for."""
    drain_s: float = 5.0
    """After SIGTERM, attempts under way have so long to be answered."""

    gallery_address: str = "127.0.0.1:7002"
    """host:port of the gallery, whose events are followed."""
    ingest_address: str = "127.0.0.1:7003"
    """host:port of the camera worker, which keeps best shots."""
    store_url: str = "redis://127.0.0.1:7379/0"
    """Redis, where the outbox is: redis://, rediss://, unix://, sentinel:// or cluster://; `memory` keeps it as long as
    the process lives, and is for tests."""
    targets: str = ""
    """The file of targets, YAML or JSON; empty: nobody is told."""
    allowed_networks: str = ""
    """Networks that webhooks may go to beside public addresses, such as `10.1.0.0/16,192.168.4.7`; empty: none, so that
    a URL cannot reach inside by accident."""

    public_url: str = ""
    """What this gateway is reached by from outside, such as `https://tessera.example`; messages link to best shots
    below it. Empty: no links, and nothing is served over HTTP."""
    http_port: int = 7080
    """HTTP for best shots behind signed links; 0 lets the system choose."""
    link_key: Secret = Secret("")  # noqa: RUF009 - immutable
    """What links are signed with: 16 characters or more, the same on every gateway."""
    link_lives_s: float = 86_400.0
    """A link ends so long after its message was sent."""

    lease_s: float = 3.0
    """Of several gateways one works; when it is gone, another does after so long."""
    first_pause_s: float = 1.0
    """After a failed attempt, the range of the pause, which doubles with each one more."""
    longest_pause_s: float = 300.0
    """No pause is longer."""
    max_waiting: int = 100_000
    """Notifications that may wait for a target; one more becomes a dead letter (OVERFLOW)."""
    max_dead: int = 10_000
    """Dead letters that are kept; one more pushes the oldest out."""
    remembered_s: float = 604_800.0
    """Dead letters, and the keys of what was delivered, are kept for so long."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        require_port("port", self.port)
        require_port("metrics_port", self.metrics_port)
        require_port("http_port", self.http_port)
        is_url = not self.public_url or self.public_url.startswith(("http://", "https://"))
        require(is_url, "public_url", self.public_url, "an http:// or https:// URL, or nothing")
        allowed = f"{SHORTEST_SECRET} characters or more, where public_url is set"
        require(not self.public_url or len(self.link_key) >= SHORTEST_SECRET, "link_key", self.link_key, allowed)
        for name in ("max_deadline_s", "first_pause_s", "remembered_s", "link_lives_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0 seconds")
        require(self.drain_s >= 0, "drain_s", self.drain_s, "0 seconds or more")
        require(self.lease_s >= 0.3, "lease_s", self.lease_s, "0.3 seconds or more")
        allowed = "as long as first_pause_s or longer"
        require(self.longest_pause_s >= self.first_pause_s, "longest_pause_s", self.longest_pause_s, allowed)
        for name in ("max_waiting", "max_dead"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("gallery_address", "ingest_address"):
            require_address(name, getattr(self, name))
        require_store("store_url", self.store_url, groups=True)
        parse_networks("allowed_networks", self.allowed_networks)
        require_log_level("log_level", self.log_level)

    @property
    def server(self) -> ServerSettings:
        """Where it listens."""
        return ServerSettings(self.host, self.port, self.metrics_port, self.max_deadline_s, self.drain_s)

    @property
    def limits(self) -> OutboxLimits:
        """How much the outbox keeps."""
        return OutboxLimits(self.max_waiting, self.max_dead, self.remembered_s)
