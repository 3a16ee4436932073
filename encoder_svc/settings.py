"""What the encoder can be told, from `TESSERA_ENCODER_*`, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tessera.chassis.pinned_files import default_cache_dir, default_supplied_dir
from tessera.chassis.server import ServerSettings
from tessera.chassis.settings import require, require_log_level, require_port
from tessera.domain.artifact import DEFAULT_ENCODERS
from tessera.domain.embedding import Modality
from tessera.imaging.decode import DecodeLimits

PREFIX = "TESSERA_ENCODER_"
_EXPLAIN = "tessera.v1.EncoderService/Explain"


class DeviceChoice(StrEnum):
    """Where the networks run."""

    AUTO = "auto"
    """CUDA when there is one, else the CPU."""
    CPU = "cpu"
    CUDA = "cuda"


class RuntimeChoice(StrEnum):
    """What runs the networks."""

    AUTO = "auto"
    """On a CPU: compiled when this machine has compiled them before; else eager at once, and compiled in the
    background. On CUDA: recorded graphs."""
    EAGER = "eager"
    """Torch, layer by layer."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """One encoder process."""

    host: str = "127.0.0.1"
    """Address to listen on, for gRPC and for metrics."""
    port: int = 7001
    """gRPC; 0 lets the system choose."""
    metrics_port: int = 9101
    """HTTP for /metrics; 0 lets the system choose."""
    max_deadline_s: float = 10.0
    """A unary call is ended after this, whatever its client asked for."""
    explain_deadline_s: float = 60.0
    """The same for an explanation, which is made behind all other work."""
    drain_s: float = 20.0
    """After SIGTERM, work under way has so long to finish."""

    encoder: str = DEFAULT_ENCODERS[Modality.FACE]
    """The encoder that answers when none is named: one that ships with Tessera, or one that was imported."""
    signature_encoder: str = DEFAULT_ENCODERS[Modality.SIGNATURE]
    """The encoder that answers for signatures when none is named; empty: this process encodes no signatures."""
    person_encoder: str = ""
    """The encoder that answers for persons when none is named; empty: this process looks for no persons. It needs what
    `tessera encoder install person` brings."""
    more_encoders: str = ""
    """Others to load, as `NAME` or `NAME:PRIORITY` with commas between; lower goes first, and the default has 0."""
    device: DeviceChoice = DeviceChoice.AUTO
    """Where the networks run."""
    runtime: RuntimeChoice = RuntimeChoice.AUTO
    """What runs them."""
    lanes: int = 0
    """Threads that run networks. 0: one for each core of a CPU. On CUDA it is always one."""
    threads: int = 1
    """CPU threads of each lane. Lanes of one thread encode more; one lane of many answers a lone call sooner."""
    decode_threads: int = 0
    """Threads beside the lanes that decode and measure pictures. 0: on a CPU the lanes do it themselves, so that all
    of it is done in the order of precedence; on CUDA one for each core."""
    detect_side_px: int = 640
    """Frames are shrunk to this longer side for detection; faces are cut from the full frame."""

    pad_weights: Path | None = None
    """Presentation-attack weights that you bring (MiniFASNet layout, safetensors or ONNX); none: nothing is said of
    liveness. Their error rates are not measured here, and no decision rests on them."""
    pad_sha256: str = ""
    """Of that file, 64 hexadecimal digits; it must be given with it."""

    max_image_bytes: int = 20 * 1024 * 1024
    """Of one picture as sent."""
    max_image_pixels: int = 50_000_000
    """Of one picture, from its header."""

    decoded_bytes: int = 256 * 1024 * 1024
    """Memory that decoded pictures may take at a time; a larger picture is let in alone."""
    window: int = 0
    """Pictures of one class that may be under way at a time, decoding to answer. 0: what keeps the device full."""

    slice_ms: float = 20.0
    """A batch is no larger than what a lane does in this time, or in the time that one picture alone takes where that
    is longer: a verify call waits for it at most once."""
    linger_share: float = 0.25
    """On a busy device a batch waits for pictures that are on their way, for this share of its own compute time."""
    stream_batch_frames: int = 1
    """Frames of one stream in one batch, at most."""
    enrolment_share: float = 0.1
    """The share of the device that enrolments get while they wait, however many doors are asked for."""
    stream_share: float = 0.2
    """The share of the device that cameras get while they wait."""

    interactive_queue: int = 32
    """Verify calls that may wait; one more is refused."""
    enrolment_queue: int = 64
    """Enrolment pictures that may wait; one more is refused."""
    stream_queue: int = 64
    """Camera frames that may wait; one more drops the oldest."""
    explanation_queue: int = 8
    """Explanations that may wait while one is under way; one more is refused."""

    max_streams: int = 64
    """Streams at a time; one more is refused."""
    stream_credits: int = 2
    """Frames of one stream under way: 1 for the freshest answers, 2 to decode one while another is embedded."""
    stream_most_credits: int = 4
    """The same for a client that asks for more, because its frames cannot become too old."""
    stream_idle_s: float = 30.0
    """A stream whose client sends nothing for so long is ended."""

    load_retry_s: float = 10.0
    """When the weights cannot be had, try again after this."""
    cache_dir: Path | None = None
    """Where weights are kept. Default: `$TESSERA_CACHE_DIR`, else `~/.cache/tessera`."""
    supplied_dir: Path | None = None
    """A folder with weight files supplied by hand. Default: `$TESSERA_SUPPLIED_DIR`."""
    log_level: str = "info"
    """`debug`, `info`, `warning` or `error`."""

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InvalidInputError: a value is outside of what its field allows.
        """
        require_port("port", self.port)
        require_port("metrics_port", self.metrics_port)
        for name in ("max_deadline_s", "explain_deadline_s", "stream_idle_s", "load_retry_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "more than 0 seconds")
        require(self.drain_s >= 0, "drain_s", self.drain_s, "0 seconds or more")
        for name in ("lanes", "decode_threads", "window", "linger_share"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.slice_ms > 0, "slice_ms", self.slice_ms, "more than 0 ms")
        for name in ("enrolment_share", "stream_share"):
            require(0.0 <= getattr(self, name) <= 0.4, name, getattr(self, name), "0 to 0.4")
        for name in ("decoded_bytes", "stream_batch_frames"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        parse_more_encoders(self.more_encoders)
        fits = not self.pad_weights or re.fullmatch(r"[0-9a-fA-F]{64}", self.pad_sha256) is not None
        require(fits, "pad_sha256", self.pad_sha256, "64 hexadecimal digits, the sha256 of pad_weights")
        for name in ("threads", "max_image_bytes", "max_image_pixels", "max_streams"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in ("interactive_queue", "enrolment_queue", "stream_queue", "explanation_queue"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        require(64 <= self.detect_side_px <= 4096, "detect_side_px", self.detect_side_px, "64 to 4096 pixels")
        require(self.stream_credits in {1, 2}, "stream_credits", self.stream_credits, "1 or 2")
        most, allowed = self.stream_most_credits, f"{self.stream_credits} (stream_credits) to 64"
        require(self.stream_credits <= most <= 64, "stream_most_credits", most, allowed)
        require_log_level("log_level", self.log_level)

    @property
    def server(self) -> ServerSettings:
        """Where it listens."""
        longer_s = {_EXPLAIN: self.explain_deadline_s}
        return ServerSettings(self.host, self.port, self.metrics_port, self.max_deadline_s, self.drain_s, longer_s)

    @property
    def limits(self) -> DecodeLimits:
        """What a picture may be."""
        return DecodeLimits(max_bytes=self.max_image_bytes, max_pixels=self.max_image_pixels)

    @property
    def wanted_encoders(self) -> dict[str, int]:
        """The encoders to load, and the priority of each; those of earlier mention are their modality's default."""
        own = {name: 0 for name in (self.encoder, self.signature_encoder, self.person_encoder) if name}
        return own | {name: own.get(name, priority) for name, priority in parse_more_encoders(self.more_encoders)}

    @property
    def weights_cache_dir(self) -> Path:
        """Where weights are kept."""
        return self.cache_dir or default_cache_dir()

    @property
    def weights_supplied_dir(self) -> Path | None:
        """A folder with weight files supplied by hand."""
        return self.supplied_dir or default_supplied_dir()


def parse_more_encoders(text: str) -> tuple[tuple[str, int], ...]:
    """Names and priorities out of `NAME,NAME:PRIORITY`.

    Raises:
        InvalidInputError: a priority is no whole number from 0 up.
    """
    named = [part.strip().partition(":") for part in text.split(",") if part.strip()]
    for name, _, priority in named:
        fits = bool(name) and (not priority or priority.isdecimal())
        require(fits, "more_encoders", text, "NAME or NAME:PRIORITY, with commas between, PRIORITY 0 or more")
    return tuple((name, int(priority or 0)) for name, _, priority in named)
