"""What camera_ingest can be told, from `TESSERA_INGEST_*`, and nothing else."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from camera_ingest.evidence.clips import ClipSettings
from camera_ingest.evidence.evidence import EvidenceSettings
from camera_ingest.leases.keeper import LeaseTiming
from camera_ingest.sources.access import PRIVATE_NETWORKS, SCHEMES, AccessRules
from camera_ingest.sources.source import ReadLimits
from camera_ingest.worker_parts import WorkerSettings
from tessera.chassis.server import ServerSettings
from tessera.chassis.settings import require, require_address, require_log_level, require_port, require_store
from tessera.domain.ids import ALLOWED_TEXT, is_id

PREFIX = "TESSERA_INGEST_"
_ALL_ADDRESSES = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104 - what is meant by them is looked at


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """One camera_ingest process."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and for metrics."""
    port: int = 7003
    """gRPC; 0 lets the system choose."""
    metrics_port: int = 9103
    """HTTP for /metrics; 0 lets the system choose."""
    max_deadline_s: float = 10.0
    """A call is ended after this, whatever its client asked for."""
    drain_s: float = 2.0
    """After SIGTERM, frames with the encoder and updates with the gallery have so long to be answered."""

    encoder_address: str = "127.0.0.1:7001"
    """host:port of the encoder; of several, `dns:///host:port` or IP addresses with commas between (ADR 0032)."""
    gallery_address: str = "127.0.0.1:7002"
    """The same of the gallery."""
    store_url: str = "redis://127.0.0.1:7379/0"
    """Redis, where the cameras and their leases are kept: redis://, rediss://, unix://, sentinel:// or cluster://.
    Workers of one store share its cameras. `memory` keeps them for as long as the process lives, for one worker."""
    worker_id: str = "ingest-1"
    """Names this process to the gallery and to other workers; random characters behind it make it its own."""
    advertised_address: str = ""
    """host:port at which other workers reach this one; empty: `host` and `port`, or this machine's name for a `host`
    that means all addresses."""
    lease_s: float = 6.0
    """A worker that shows no sign of life for so long loses its cameras to others; four fifths of it without the
    store, and it stops watching by itself. 2 to 60, the same for all workers."""

    max_cameras: int = 64
    """Cameras at a time; one more is refused."""
    jpeg_threads: int = 1
    """Threads that compress frames: one manages about 150 of 720p a second."""
    looking_threads: int = 1
    """Threads that look at frames for motion and at the scene: one manages several hundred of 720p a second."""
    motion_every_s: float = 2.0
    """The motion gate lets a frame through at least so often."""
    scene_every_s: float = 1.0
    """Between two looks at whether a camera is covered, out of focus or moved."""
    open_limit_s: float = 8.0
    """A camera that does not answer for so long is lost."""
    read_limit_s: float = 4.0
    """A camera that sends nothing for so long is lost."""
    frozen_after_s: float = 4.5
    """The same picture of a live camera for so long is a freeze."""
    reconnect_longest_s: float = 30.0
    """A lost camera is tried again after 0.5 s to this, at random, in a range that doubles."""
    evidence_dir: str = ""
    """Folder of this worker's own for best shots and clips; empty: none are kept."""
    evidence_keys: str = ""
    """What best shots and clips are sealed with: the path of a key file, or `env:NAME` for a variable that holds its
    text; `tessera keys new` makes one. `ephemeral`: a key that ends with the process, and they with it."""
    evidence_max_bytes: int = 2 << 30
    """Best shots and clips may take so much of the disk; then the oldest make room."""
    evidence_max_age_s: float = 72 * 3600.0
    """They are kept for so long."""
    evidence_forget_s: float = 5.0
    """How often the gallery is asked which sightings were erased; what shows them goes."""
    clip_sightings: bool = False
    """Clips are kept of sightings (MATCH and UNKNOWN) too, some megabytes each, and not of camera events alone."""
    clip_before_s: float = 4.0
    """A clip begins so long before its event; 0 to 30."""
    clip_after_s: float = 4.0
    """And ends so long after it; 0 to 30."""
    allowed_schemes: str = ",".join(SCHEMES)
    """What cameras may be of, with a comma between two: rtsp, rtsps, http, https, file, folder, v4l2, demo."""
    allowed_networks: str = ",".join(PRIVATE_NETWORKS)
    """Where cameras may be, with a comma between two. The default is this machine and private networks; 0.0.0.0/0,::/0
    allows all, with the services that clouds answer with secrets at 169.254.169.254 among them."""
    allowed_folders: str = ""
    """Folders that recordings and folders of pictures must lie in, with a comma between two; empty: anywhere."""
    tls_verify: bool = True
    """Certificates of https:// and rtsps:// cameras are checked. False: for cameras that signed their own."""
    tls_ca_file: str = ""
    """Who signs the cameras' certificates, as a PEM file; empty: those whom the system trusts."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        require_port("port", self.port)
        require_port("metrics_port", self.metrics_port)
        for name in (
            "max_deadline_s",
            "open_limit_s",
            "read_limit_s",
            "frozen_after_s",
            "motion_every_s",
            "scene_every_s",
        ):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0 seconds")
        require(self.drain_s >= 0, "drain_s", self.drain_s, "0 seconds or more")
        require(self.reconnect_longest_s >= 0.5, "reconnect_longest_s", self.reconnect_longest_s, "0.5 seconds or more")
        for name in ("max_cameras", "jpeg_threads", "looking_threads"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("encoder_address", "gallery_address"):
            require_address(name, getattr(self, name))
        _ = self.access
        require_store("store_url", self.store_url, groups=True)
        require(is_id(self.worker_id), "worker_id", self.worker_id, ALLOWED_TEXT)
        require(2 <= self.lease_s <= 60, "lease_s", self.lease_s, "2 to 60 seconds")
        if self.advertised_address:
            require_address("advertised_address", self.advertised_address)
        self._require_evidence()
        require_log_level("log_level", self.log_level)

    def _require_evidence(self) -> None:
        told = "the path of a key file, env:NAME or ephemeral, where evidence_dir is set"
        require(bool(self.evidence_keys) or not self.evidence_dir, "evidence_keys", self.evidence_keys, told)
        least = 1 << 20
        require(self.evidence_max_bytes >= least, "evidence_max_bytes", self.evidence_max_bytes, f"{least} or more")
        for name in ("evidence_max_age_s", "evidence_forget_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0 seconds")
        for name in ("clip_before_s", "clip_after_s"):
            require(0 <= getattr(self, name) <= 30, name, getattr(self, name), "0 to 30 seconds")

    @property
    def evidence(self) -> EvidenceSettings:
        """How best shots and clips are kept."""
        clips = ClipSettings(self.clip_before_s, self.clip_after_s)
        return EvidenceSettings(clips, self.clip_sightings, self.evidence_forget_s)

    @property
    def server(self) -> ServerSettings:
        """Where it listens."""
        return ServerSettings(self.host, self.port, self.metrics_port, self.max_deadline_s, self.drain_s)

    @property
    def access(self) -> AccessRules:
        """Where readers may go."""
        return AccessRules(
            schemes=_listed(self.allowed_schemes),
            networks=_listed(self.allowed_networks),
            folders=_listed(self.allowed_folders),
            tls_verify=self.tls_verify,
            tls_ca_file=self.tls_ca_file,
        )

    @property
    def timing(self) -> LeaseTiming:
        """How long leases last."""
        return LeaseTiming(self.lease_s, min(1.0, self.lease_s / 5))

    def address_at(self, port: int) -> str:
        """Where other workers reach this one, which listens at a port."""
        host = socket.gethostname() if self.host in _ALL_ADDRESSES else self.host
        return self.advertised_address or f"{host}:{port}"

    @property
    def limits(self) -> ReadLimits:
        """How long streams may take."""
        return ReadLimits(self.open_limit_s, self.read_limit_s)

    @property
    def worker(self) -> WorkerSettings:
        """How patient each camera's worker is."""
        return WorkerSettings(
            silent_after_s=self.read_limit_s + 0.5,
            frozen_after_s=self.frozen_after_s,
            motion_every_s=self.motion_every_s,
            scene_every_s=self.scene_every_s,
            reconnect_longest_s=self.reconnect_longest_s,
            drain_s=self.drain_s,
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
