"""What is told of a picture that should show exactly one face, signature or person, and does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tessera.domain.embedding import Modality
from tessera.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class NotOne:
    """Why a picture is refused where exactly one sample is asked for."""

    none: Reason
    several: Reason
    noun: str
    """Of one sample, such as `face`."""


NOT_ONE: Mapping[Modality, NotOne] = {
    Modality.FACE: NotOne(Reason.NO_FACE, Reason.EXCEEDS_MAX_FACES, "face"),
    Modality.SIGNATURE: NotOne(Reason.NO_SIGNATURE, Reason.EXCEEDS_MAX_SIGNATURES, "signature"),
    Modality.PERSON: NotOne(Reason.NO_PERSON, Reason.EXCEEDS_MAX_PERSONS, "person"),
}
