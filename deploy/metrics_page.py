"""`python -m deploy.metrics_page` writes docs/metrics.md from the catalogues in the code; `make metrics` runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from camera_ingest.metrics import IngestMetrics
from encoder_svc.metrics import EncoderMetrics
from gallery_svc.metrics import GalleryMetrics
from gateway_svc.metrics import GatewayMetrics
from tessera.chassis.catalogue import Entry, Theme, entries, own_entries
from tessera.chassis.metrics import ServiceMetrics

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
SERVICES: dict[str, type[ServiceMetrics]] = {
    "encoder_svc": EncoderMetrics,
    "gallery_svc": GalleryMetrics,
    "camera_ingest": IngestMetrics,
    "gateway_svc": GatewayMetrics,
}

_HEAD = """# Metrics

Written by `make metrics` from the code; do not edit. Every service serves `/metrics`: Prometheus text, or OpenMetrics
with exemplars for who asks for it. Labels name cameras, collections, methods and reasons, never a person: the number of
series does not grow with subjects.
"""
_COLUMNS = "| metric | type | unit | labels | what moves it | what to do |\n|---|---|---|---|---|---|\n"


def page() -> str:
    """The page as it must be now."""
    sections = [_section("Every service", [ServiceMetrics])]
    sections += [_section(service, list(_themes(metrics))) for service, metrics in SERVICES.items()]
    return "\n".join([_HEAD, *sections])


def all_entries() -> Iterator[Entry[Any]]:
    """Every entry of every service, each once."""
    seen: set[str] = set()
    for metrics in SERVICES.values():
        for _, entry in entries(metrics):
            if entry.name not in seen:
                seen.add(entry.name)
                yield entry


def _themes(metrics: type[Theme]) -> Iterator[type[Theme]]:
    return (one for one in metrics.__mro__ if issubclass(one, Theme) and one is not ServiceMetrics and own_entries(one))


def _section(title: str, themes: list[type[Theme]]) -> str:
    rows = [_row(entry) for theme in themes for _, entry in own_entries(theme)]
    return f"## {title}\n\n{_COLUMNS}{''.join(rows)}"


def _row(entry: Entry[Any]) -> str:
    labels = ", ".join(f"`{label}`" for label in entry.labels)
    cells = (f"`{entry.name}`", entry.kind.__name__.lower(), entry.unit, labels, entry.cause, entry.action)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
