"""From a failed call to what the user can do now."""

from __future__ import annotations

from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.client.errors import NotBuilt, ServiceFailed, ServiceUnavailable, TesseraCallError

_NEXT = {
    "SUBJECT_NOT_FOUND": "`tessera subjects list` shows who is enrolled; `tessera enroll` adds somebody",
    "COLLECTION_NOT_FOUND": "`tessera collections list` shows them; `tessera collections create ID` makes one",
    "CAMERA_NOT_FOUND": "`tessera camera list` shows the cameras",
    "ENCODER_NOT_FOUND": "`tessera encoder list` shows those that are loaded; `tessera encoder import` brings one",
    "ENCODER_LOADING": "wait for it: `tessera encoder list` shows how it does",
    "ENCODER_IS_DEFAULT": "make another one the default first: `tessera encoder load NAME --default`",
    "TARGET_NOT_FOUND": "`tessera notifications targets` lists them; they stand in the file that --targets names",
    "CAMERA_EXISTS": "take another name, or `tessera camera remove` the present one first",
    "REQUEST_ID_REUSED": "leave --request-id out, or take a new one",
    "EMPTY_IMAGE": "check the file: it holds no bytes",
    "TRUNCATED_IMAGE": "copy the file again: its end is missing",
    "NOT_AN_IMAGE": "use a JPEG, PNG, WebP or BMP file",
    "UNSUPPORTED_FORMAT": "convert the picture to JPEG, PNG, WebP or BMP",
    "TOO_MANY_BYTES": "make the picture smaller",
    "TOO_MANY_PIXELS": "make the picture smaller",
    "TOO_FEW_PIXELS": "use a larger picture",
    "NO_FACE": "use a picture in which one face is seen clearly",
    "EXCEEDS_MAX_FACES": "cut the picture to the one person who is meant",
    "NO_SIGNATURE": "use a picture of the signature, dark on light paper",
    "EXCEEDS_MAX_SIGNATURES": "cut the picture to the one signature that is meant",
    "NO_PERSON": "use a picture in which one person is seen whole",
    "EXCEEDS_MAX_PERSONS": "cut the picture to the one person who is meant",
    "FAINT_INK": "scan it darker, or sign with another pen",
    "CUT_OFF": "leave some paper around the signature",
    "PRINTED_TEXT": "cut the picture to the signature",
    "LOW_SHARPNESS": "use a sharper picture",
    "LOW_BRIGHTNESS": "use a brighter picture",
    "HIGH_BRIGHTNESS": "use a picture with less light",
    "LOW_CONTRAST": "use a picture with more contrast",
    "SMALL_BOUNDING_BOX": "use a picture taken from nearer, or of a higher resolution",
    "EXTREME_POSE": "use a picture in which the person looks at the camera",
    "OUTLIER": "leave out what shows somebody else; --outliers report takes it all the same",
    "DUPLICATE_SUBJECT": "the same one: --duplicates merge, or that person's id; two people: --duplicates keep-apart",
    "COLLECTION_EXISTS": "take another name; `tessera collections update` changes the one that is there",
    "REVISION_CHANGED": "look at it again: somebody else has just changed it",
    "CALIBRATION_TOO_SMALL": "ask for a higher error rate: the data proves no lower one; or let it be extrapolated",
    "MODEL_MISMATCH": "use embeddings that the collection's own model made",
    "CURSOR_TRIMMED": "start from now, or with --from-oldest",
    "UNAVAILABLE": "start everything with `tessera up`, or name addresses: --gallery, --ingest, --encoder, --gateway",
    "DEADLINE_EXCEEDED": "`tessera status` shows how the services do; --deadline gives a call more time",
    "QUEUE_FULL": "try again in a moment",
}
_NEXT_OTHERWISE = {
    ExitCode.UNAVAILABLE: "`tessera status` shows how the services do; the service's log has the rest",
}


def failure_of(error: TesseraCallError) -> Failure:
    """What a command says of a failed call."""
    away = isinstance(error, ServiceUnavailable | ServiceFailed | NotBuilt)
    exit_code = ExitCode.UNAVAILABLE if away else ExitCode.BAD_INPUT
    return Failure(
        error.message,
        exit_code=exit_code,
        field=error.field,
        value=error.value,
        allowed=error.allowed,
        next_step=_NEXT.get(error.reason, _NEXT_OTHERWISE.get(exit_code, "")),
        code=error.code,
        reason=error.reason,
        details=error.details,
    )
