"""The page of `tessera doctor`: sections of facts, what is wrong first, and nothing on it that is secret.

What may be shown is decided here, once, for all sections: a value is shown when its kind is known to be harmless, and
hidden otherwise. A secret that nobody thought of is therefore hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tessera.chassis.settings import hide_credentials

_SECRET_NAME = re.compile(r"KEY|SECRET|PASS|TOKEN|HEADER|CREDENTIAL|AUTH|COOKIE", re.IGNORECASE)
_HARMLESS = re.compile(
    r"[0-9.,:/ -]{0,24}|true|false|yes|no|on|off|auto|cpu|cuda|eager|always|everysec|refuse|exact|milvus|memory"
    r"|debug|info|warning|error|otlp|console|none",
    re.IGNORECASE,
)
_PLACE = re.compile(r"(dns:///)?[A-Za-z0-9_.\[\]-]{1,80}:\d{1,5}(,[A-Za-z0-9_.\[\]-]{1,80}:\d{1,5})*")
_PATH = re.compile(r"[/~.][A-Za-z0-9_./ ~-]*")
_URL = re.compile(r"([a-z][a-z0-9+]*)://(\S*)", re.IGNORECASE)


class Weight(StrEnum):
    """How bad a finding is."""

    WRONG = "WRONG"
    """Something does not work, or soon will not."""
    LOOK = "LOOK"
    """It may be meant so."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should not be, and what to do about it."""

    weight: Weight
    what: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Section:
    """Facts of one kind, and what is wrong with them."""

    title: str
    rows: Sequence[tuple[str, str]]
    findings: Sequence[Finding] = field(default=())


def shown_setting(name: str, value: str) -> str:
    """A variable's value as far as it may be seen.

    Args:
        name: of the variable; one that sounds secret hides all but a path that is there.
        value: what it holds.
    """
    if not value:
        return "(empty)"
    if _SECRET_NAME.search(name):
        return value if _PATH.fullmatch(value) and Path(value).expanduser().exists() else "(set, hidden)"
    if _PATH.fullmatch(value):
        return value
    if _HARMLESS.fullmatch(value) or _PLACE.fullmatch(value):
        return value
    if _URL.fullmatch(value):
        return shown_url(value)
    return f"(set, {len(value)} characters)"


def shown_url(url: str) -> str:
    """A URL without credentials, path and query: each of them may be a secret."""
    scheme, _, rest = hide_credentials(url).partition("://")
    return f"{scheme}://{re.split('[/?#]', rest, maxsplit=1)[0]}"


def findings_of(sections: Sequence[Section]) -> list[Finding]:
    """All, the worst first."""
    found = [finding for section in sections for finding in section.findings]
    return sorted(found, key=lambda finding: finding.weight is not Weight.WRONG)


def as_text(sections: Sequence[Section], headline: str) -> str:
    """The page as a person reads it."""
    found = findings_of(sections)
    lines = [headline, ""]
    lines += [
        line for finding in found for line in (f"{finding.weight}: {finding.what}", f"       {finding.next_step}")
    ]
    lines += [] if found else ["Nothing is wrong as far as can be seen from here."]
    for section in sections:
        width = max((len(name) for name, _ in section.rows), default=0)
        lines += ["", section.title, *(f"  {name:<{width}}  {value}" for name, value in section.rows)]
    return "\n".join(lines)


def as_plain(sections: Sequence[Section], headline: str) -> Mapping[str, object]:
    """The page as JSON's values."""
    return {
        "headline": headline,
        "findings": [
            {"weight": each.weight.value, "what": each.what, "next": each.next_step} for each in findings_of(sections)
        ],
        "sections": {section.title: [list(row) for row in section.rows] for section in sections},
    }
