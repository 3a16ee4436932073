"""Enrols the demo's people through the SDK, as any user would; done once, however often `tessera up --demo` runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tessera.client import Tessera
from tessera.client.errors import NotFound
from tessera.demo.portraits import ENROLLED, EnrolledPerson

DEMO_CAMERA = "demo"
DEMO_URL = "demo:"
_CONSENT = "public-domain portraits of the demo"


def enrol_demo_people(tessera: Tessera, portraits: Mapping[str, Path]) -> list[str]:
    """Enrol whoever is missing.

    Args:
        tessera: the connection.
        portraits: the path of each photograph by its name.

    Returns:
        The names of those who were enrolled now.

    Raises:
        TesseraCallError: the gallery refused or did not answer.
    """
    missing = [person for person in ENROLLED if not _is_enrolled(tessera, person)]
    for person in missing:
        tessera.enroll(
            person.subject_id,
            [portraits[portrait.file.name] for portrait in person.portraits],
            display_name=person.display_name,
            labels=["demo"],
            consent_reference=_CONSENT,
            request_id=_request_id(person),
        )
    return [person.display_name for person in missing]


def _is_enrolled(tessera: Tessera, person: EnrolledPerson) -> bool:
    """By the pictures' hashes: a request id is remembered for a day only."""
    try:
        subject = tessera.get_subject(person.subject_id)
    except NotFound:
        return False
    return {p.file.sha256 for p in person.portraits} <= {t.source_sha256 for t in subject.templates}


def _request_id(person: EnrolledPerson) -> str:
    files = ":".join(portrait.file.sha256 for portrait in person.portraits)
    return "demo-" + hashlib.sha256(f"{person.subject_id}:{files}".encode()).hexdigest()[:32]
