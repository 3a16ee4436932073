"""The catalogue of metrics: whole, in words, and on its page as it is in the code."""

from __future__ import annotations

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from deploy.metrics_page import PAGE, SERVICES, all_entries, page
from tessera.chassis.catalogue import Entry, Theme, counter, entries, gauge

ENTRIES = sorted(all_entries(), key=lambda entry: entry.name)
OF_PEOPLE = {"subject", "subject_id", "person", "name", "display_name", "template", "template_id", "caller", "tracklet"}


def test_the_page_is_what_the_code_says() -> None:
    """docs/metrics.md is fresh: `make metrics` would change nothing."""
    assert PAGE.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_each_entry_says_what_moves_it_and_what_to_do(entry: Entry[Any]) -> None:
    """Cause and action are sentences; the name has the form of its kind; no label can name a person."""
    assert entry.cause.endswith((".", ";"))
    assert entry.action.endswith(".")
    assert (entry.kind.__name__ == "Counter") == entry.name.endswith("_total")
    assert not OF_PEOPLE & set(entry.labels)


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_metric_of_a_service_is_in_the_catalogue(service: str) -> None:
    """Nothing is declared past the catalogue, but for what the client library tells of process and Python."""
    declared = {name for _, name in _families(_declared(service)) if not name.startswith(("process_", "python_"))}
    assert declared == {entry.name for _, entry in entries(SERVICES[service])}


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_when_a_series_began_is_no_series(service: str) -> None:
    """Declaring a catalogue switches the `_created` series off: they would double the number of series."""
    told = generate_latest(_declared(service)).decode()
    assert not re.search(r"_created[ {]", told)
    assert "_total" in told


def test_a_theme_that_joins_others_has_their_metrics() -> None:
    """An instance has each entry as the metric itself, also of themes that it joins; the class has the entries."""

    class Doors(Theme):
        opened = counter("doors_opened_total", "Doors that opened.", "Close them.")

    class House(Doors):
        height = gauge("house_height_bytes", "How high.", "Nothing.", labels=("house",))

    house = House(CollectorRegistry())
    house.opened.inc()
    house.height.labels("mine").set(3)

    assert house.registry.get_sample_value("doors_opened_total") == 1.0
    assert house.registry.get_sample_value("house_height_bytes", {"house": "mine"}) == 3.0
    assert House.height.unit == "bytes"
    assert House.opened.unit == ""


def _declared(service: str) -> CollectorRegistry:
    metrics: Any = SERVICES[service]
    registry = CollectorRegistry()
    metrics(registry)
    return registry


def _families(registry: CollectorRegistry) -> list[tuple[str, str]]:
    found = registry.collect()
    return [(family.type, family.name + ("_total" if family.type == "counter" else "")) for family in found]
