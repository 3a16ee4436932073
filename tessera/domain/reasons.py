"""Why: the reason codes that pictures, frames and decisions carry.

The names are those that the field already uses (NO_FACE, LOW_SHARPNESS, SMALL_BOUNDING_BOX, ...); the wire enum
`tessera.v1.Reason` has the same names with the prefix REASON_ and a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """One cause of a refusal, a skip or an inconclusive answer."""

    # the bytes
    EMPTY_IMAGE = "EMPTY_IMAGE"
    TRUNCATED_IMAGE = "TRUNCATED_IMAGE"
    NOT_AN_IMAGE = "NOT_AN_IMAGE"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    TOO_MANY_BYTES = "TOO_MANY_BYTES"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    TOO_FEW_PIXELS = "TOO_FEW_PIXELS"
    # what is in the picture
    NO_FACE = "NO_FACE"
    EXCEEDS_MAX_FACES = "EXCEEDS_MAX_FACES"
    # how good it is
    LOW_SHARPNESS = "LOW_SHARPNESS"
    LOW_BRIGHTNESS = "LOW_BRIGHTNESS"
    HIGH_BRIGHTNESS = "HIGH_BRIGHTNESS"
    LOW_CONTRAST = "LOW_CONTRAST"
    SMALL_BOUNDING_BOX = "SMALL_BOUNDING_BOX"
    EXTREME_POSE = "EXTREME_POSE"
    LOW_DETECTION_PROBABILITY = "LOW_DETECTION_PROBABILITY"
    LOW_FIDELITY = "LOW_FIDELITY"
    OCCLUDED = "OCCLUDED"
    # the comparison
    NO_TEMPLATE = "NO_TEMPLATE"
    EMPTY_COLLECTION = "EMPTY_COLLECTION"
    MODEL_MISMATCH = "MODEL_MISMATCH"
    NO_CALIBRATION = "NO_CALIBRATION"
    CALIBRATION_TOO_SMALL = "CALIBRATION_TOO_SMALL"
    TOO_FEW_FRAMES = "TOO_FEW_FRAMES"
    PARTIAL_GALLERY = "PARTIAL_GALLERY"
    NOT_VALID_NOW = "NOT_VALID_NOW"
    DUPLICATE = "DUPLICATE"
    OUTLIER = "OUTLIER"
    # the stream
    NO_CREDIT = "NO_CREDIT"
    NEWER_FRAME = "NEWER_FRAME"
    EXPIRED = "EXPIRED"
    NO_MOTION = "NO_MOTION"
    ENCODER_UNAVAILABLE = "ENCODER_UNAVAILABLE"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    INTERNAL = "INTERNAL"
