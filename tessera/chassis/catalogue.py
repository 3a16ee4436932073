"""The catalogue of what a service counts: each entry says what moves it and what an operator does about it.

A theme is a class whose attributes are entries; a service's metrics join the themes, and an instance of them declares
each entry once in its registry. `docs/metrics.md` is written from the same entries. No label may name a subject.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, overload

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

AnyMetric = TypeVar("AnyMetric", bound=MetricWrapperBase)

_UNITS = ("seconds", "bytes", "hertz", "ppm", "ratio")


class Entry(Generic[AnyMetric]):
    """One metric as the catalogue has it; on an instance of its theme it is the metric itself.

    Args:
        kind: what it becomes.
        name: as Prometheus shows it.
        cause: what moves it; a sentence or more.
        action: what an operator does about it; a sentence or more.
        labels: names of its labels.
        buckets: upper bounds, of a histogram alone.
    """

    def __init__(
        self,
        kind: type[AnyMetric],
        name: str,
        *,
        cause: str,
        action: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] | None = None,
    ) -> None:
        self.kind = kind
        self.name = name
        self.cause = cause
        self.action = action
        self.labels = tuple(labels)
        self.buckets = buckets
        self._attribute = ""

    @property
    def unit(self) -> str:
        """The unit that the name ends with; `timestamp` is seconds since 1970; "" for a plain number."""
        words = self.name.removesuffix("_total").split("_")
        if words[-2:] == ["timestamp", "seconds"]:
            return "timestamp"
        return words[-1] if words[-1] in _UNITS else ""

    def declare(self, registry: CollectorRegistry) -> AnyMetric:
        """The metric, in this registry."""
        more: dict[str, Any] = {} if self.buckets is None else {"buckets": tuple(self.buckets)}
        return self.kind(self.name, f"{self.cause} {self.action}", self.labels, registry=registry, **more)

    def __set_name__(self, theme: type[Theme], attribute: str) -> None:
        self._attribute = attribute

    @overload
    def __get__(self, instance: None, theme: type[Theme]) -> Entry[AnyMetric]: ...

    @overload
    def __get__(self, instance: Theme, theme: type[Theme]) -> AnyMetric: ...

    def __get__(self, instance: Theme | None, theme: type[Theme]) -> Entry[AnyMetric] | AnyMetric:
        """The entry of a class; an instance has the metric itself under this name and does not come here."""
        if instance is None:
            return self
        raise AttributeError(f"{self._attribute}: this theme has not been declared in a registry")


class Theme:
    """Entries that belong together; an instance has a metric for each.

    Args:
        registry: where they are declared; a service has one, a test makes its own.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        # When each series began is asked by nobody, and would be as many series again.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        for attribute, entry in entries(type(self)):
            setattr(self, attribute, entry.declare(registry))


def entries(theme: type[Theme]) -> Iterator[tuple[str, Entry[Any]]]:
    """The entries of a theme and of those that it joins, with the attributes that they become."""
    for one in reversed(theme.__mro__):
        yield from own_entries(one)


def own_entries(theme: type) -> list[tuple[str, Entry[Any]]]:
    """The entries that stand in a theme itself."""
    return [(attribute, entry) for attribute, entry in vars(theme).items() if isinstance(entry, Entry)]


def counter(name: str, cause: str, action: str, labels: Sequence[str] = ()) -> Entry[Counter]:
    """An entry that only grows; its name ends with `_total`."""
    return Entry(Counter, name, cause=cause, action=action, labels=labels)


def gauge(name: str, cause: str, action: str, labels: Sequence[str] = ()) -> Entry[Gauge]:
    """An entry that goes up and down."""
    return Entry(Gauge, name, cause=cause, action=action, labels=labels)


def histogram(
    name: str, cause: str, action: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
) -> Entry[Histogram]:
    """An entry of which the distribution counts."""
    return Entry(Histogram, name, cause=cause, action=action, labels=labels, buckets=buckets)
