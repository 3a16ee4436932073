"""What `tessera doctor` tells of the services and of their store: asked once each, and what does not answer is told."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tessera.chassis.store_client import StoreClient
from tessera.cli.doctor_page import Finding, Section, Weight, shown_url
from tessera.client import Tessera
from tessera.client.answers import ServiceState
from tessera.client.encoder import EncoderState
from tessera.client.errors import TesseraCallError
from tessera.domain.artifact import DEFAULT_ENCODERS
from tessera.domain.errors import InvalidInputError, UnavailableError

_STORE_LIMIT_S = 3.0
_SLOW_S = 1.0


def services(tessera: Tessera) -> Section:
    """Whether each takes work, and how fast it says so."""
    rows, findings = [], []
    started_s = time.monotonic()
    for status in tessera.status():
        took_s, started_s = time.monotonic() - started_s, time.monotonic()
        rows.append((status.name, f"{status.state.value.lower()} at {status.address}, {1000 * took_s:.0f} ms"))
        if status.state is ServiceState.UNREACHABLE:
            step = "start it, or name its address (--encoder, --gallery, --ingest, --gateway)"
            findings.append(Finding(Weight.WRONG, f"{status.name} does not answer at {status.address}", step))
        elif status.state is ServiceState.NOT_SERVING:
            step = "its log says why: weights that cannot be had, a store that is away, an index that is behind"
            findings.append(Finding(Weight.WRONG, f"{status.name} answers and takes no work", step))
        elif took_s > _SLOW_S:
            findings.append(Finding(Weight.LOOK, f"{status.name} took {took_s:.1f} s to answer", "look at its load"))
    return Section("Services", rows, findings)


def encoders(tessera: Tessera) -> Section:
    """Which encoders run where, and how."""
    rows, findings = [], []
    try:
        for encoder in tessera.encoders():
            default = ", default" if encoder.default else ""
            how = f"{encoder.state.value.lower()} on {encoder.device or '-'} ({encoder.runtime or '-'}){default}"
            rows.append((str(encoder.model_id), how))
            if encoder.state is EncoderState.FAILED:
                step = "`tessera doctor` where it runs shows its weights; its log says why"
                findings.append(Finding(Weight.WRONG, f"encoder {encoder.name} failed to load", step))
            if encoder.default and encoder.calibration_id is None:
                step = "`tessera calibrate fit` makes one; until then no rate can be stated"
                findings.append(Finding(Weight.LOOK, f"encoder {encoder.name} has no calibration", step))
            if encoder.runtime == "eager" and encoder.device == "cpu" and encoder.modality.value == "FACE":
                step = "it is compiling, or g++ is not there; the log says runtime.stays_eager with the reason"
                findings.append(Finding(Weight.LOOK, f"encoder {encoder.name} runs uncompiled, slower", step))
    except TesseraCallError:
        rows.append(("the encoder", "does not answer"))
    return Section("Encoders", rows, findings)


def people(tessera: Tessera) -> Section:
    """Collections: how large, and of which encoder. No name of a collection, let alone of a person."""
    rows: list[tuple[str, str]] = []
    findings = []
    try:
        served = {encoder.model_id for encoder in tessera.encoders()}
        for number, each in enumerate(tessera.collections(), start=1):
            rows.append((f"collection {number}", f"{each.subject_count} subjects, {each.template_count} templates"))
            rows.append(("", f"{each.modality.value.lower()}, {each.model_id or 'no model yet'}"))
            if each.model_id and served and each.model_id not in served:
                encoder = each.model_id.partition("@")[0]
                old = encoder not in DEFAULT_ENCODERS.values()
                what = f"collection {number} is of {each.model_id}, which no encoder here runs: its weights are old"
                step = "`tessera reembed` moves it; until then start the encoder with TESSERA_ENCODER_MORE_ENCODERS"
                findings.append(Finding(Weight.WRONG, what, f"{step}={encoder}" if old else step))
    except TesseraCallError:
        rows.append(("the gallery", "does not answer"))
    return Section("Collections", rows or [("none", "yet")], findings)


def cameras(tessera: Tessera) -> Section:
    """How many cameras there are in which state; their addresses are nobody's business."""
    try:
        states = Counter(entry.status.state.value if entry.status else "UNKNOWN" for entry in tessera.cameras())
    except TesseraCallError:
        return Section("Cameras", [("the camera worker", "does not answer")])
    findings = []
    lost = sum(count for state, count in states.items() if state in ("LOST", "FROZEN"))
    if lost:
        step = "`tessera camera status NAME` says why; look at the camera and its network first"
        findings.append(Finding(Weight.LOOK, f"{lost} of {states.total()} cameras give no pictures", step))
    return Section("Cameras", [(state.lower(), str(count)) for state, count in sorted(states.items())], findings)


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What a store said of itself."""

    section: Section
    now: datetime | None = None
    """By its clock."""


def store(url: str) -> StoreFacts:
    """The store behind a URL: whether it is there, whether it keeps what it is told, how full it is."""
    if not url:
        told = "not asked: name it with --store, or run this with the gallery's settings"
        return StoreFacts(Section("Store", [("store", told)]))
    rows = [("address", shown_url(url))]
    try:
        info, now = asyncio.run(_ask(url))
    except (UnavailableError, InvalidInputError) as error:
        step = "start it; the services are not ready without it and come back by themselves"
        finding = Finding(Weight.WRONG, f"the store does not answer ({type(error).__name__})", step)
        return StoreFacts(Section("Store", [*rows, ("state", "away")], [finding]))
    rows += [(name, str(info[key])) for name, key in _ROWS.items() if key in info]
    return StoreFacts(Section("Store", rows, _judged(info)), now)


_ROWS = {
    "server": "server_name",
    "valkey": "valkey_version",
    "redis": "redis_version",
    "role": "role",
    "replicas": "connected_slaves",
    "memory": "used_memory_human",
    "memory limit": "maxmemory_human",
    "policy": "maxmemory_policy",
    "append-only file": "aof_enabled",
    "last write to it": "aof_last_write_status",
    "clients": "connected_clients",
    "up for, in seconds": "uptime_in_seconds",
    "evicted keys": "evicted_keys",
}


def _judged(info: Mapping[str, Any]) -> list[Finding]:
    found = []
    if not info.get("aof_enabled"):
        step = "set appendonly yes and appendfsync always (docs/durability.md)"
        found.append(Finding(Weight.WRONG, "the store keeps no append-only file: a restart forgets people", step))
    if info.get("aof_last_write_status", "ok") != "ok":
        found.append(Finding(Weight.WRONG, "the store could not write its file", "its disk is full, or failing"))
    if int(info.get("evicted_keys", 0)) > 0 or info.get("maxmemory_policy", "noeviction") != "noeviction":
        step = "set maxmemory-policy noeviction, and give it memory; then `tessera store check`"
        found.append(Finding(Weight.WRONG, "the store throws keys away when memory is short", step))
    limit = int(info.get("maxmemory", 0))
    if limit and int(info.get("used_memory", 0)) > 0.9 * limit:
        found.append(Finding(Weight.WRONG, "the store has used nine tenths of its memory", "give it more"))
    return found


async def _ask(url: str) -> tuple[Mapping[str, Any], datetime | None]:
    client = StoreClient(url, _STORE_LIMIT_S)
    try:
        told = await client.answer(client.commands.info())
        if told and all(isinstance(value, dict) for value in told.values()):  # a cluster: of each of its servers
            told = next(iter(told.values()))
        seconds, micro = await client.answer(client.commands.time())
        now = datetime.fromtimestamp(int(seconds) + int(micro) / 1e6, UTC)
    except (TypeError, ValueError):
        return told, None
    finally:
        await client.close()
    return told, now


def store_url(given: str, environ: Mapping[str, str], data_dir: Path) -> str:
    """Where the store is: what was given, else what a service here is told, else the private one of `tessera up`."""
    for name in ("TESSERA_GALLERY_STORE", "TESSERA_INGEST_STORE_URL", "TESSERA_GATEWAY_STORE_URL"):
        given = given or environ.get(name, "")
    configuration = data_dir / "valkey" / "valkey.conf"
    if given or not is_readable(configuration):
        return given
    text = configuration.read_text(encoding="utf-8")
    port, password = re.search(r"(?m)^port (\d+)", text), re.search(r"(?m)^requirepass (\S+)", text)
    return f"redis://:{password[1]}@127.0.0.1:{port[1]}/0" if port and password else ""


def is_readable(path: Path) -> bool:
    """Whether it is a file that we may read."""
    try:
        path.open("rb").close()
    except OSError:
        return False
    return True
