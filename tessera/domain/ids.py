"""Names that must not be mixed up: each id is a string of its own type."""

from __future__ import annotations

import re
from typing import NewType

from tessera.domain.errors import InvalidInputError

CollectionId = NewType("CollectionId", str)
SubjectId = NewType("SubjectId", str)
TemplateId = NewType("TemplateId", str)
ModelId = NewType("ModelId", str)
CalibrationId = NewType("CalibrationId", str)
RequestId = NewType("RequestId", str)
CameraId = NewType("CameraId", str)
TrackletId = NewType("TrackletId", str)
EventId = NewType("EventId", str)

_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
ALLOWED_TEXT = "1 to 128 of letters, digits and . _ : @ -, starting with a letter or a digit"


def is_id(value: str) -> bool:
    """Whether `value` can be an id."""
    return _ALLOWED.fullmatch(value) is not None


def checked_id(field: str, value: str) -> str:
    """Return `value` if it can be an id.

    Args:
        field: the request field it came in, for the error.
        value: what the caller sent.

    Raises:
        InvalidInputError: `value` is empty, too long or has other characters.
    """
    if not is_id(value):
        raise InvalidInputError(field, value, ALLOWED_TEXT)
    return value
