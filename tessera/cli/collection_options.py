"""What a person wants of a collection, as `tessera collections create` and `update` are told it.

A part that is not named stays as it is: `update` reads the collection, changes these parts, and writes it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar, cast

import click

from tessera.cli.choices import duplicates_option, outliers_option
from tessera.cli.failure import Failure
from tessera.client.answers import DecisionPolicy, QualityGate
from tessera.domain.calibration import Impostors
from tessera.domain.embedding import Modality

Command = TypeVar("Command", bound=Callable[..., Any])

RATE = click.FloatRange(0, 1, min_open=True, max_open=True)
UNLIMITED: Literal["unlimited"] = "unlimited"

_META = "tessera.collection."
_MEASURES = tuple(QualityGate.__dataclass_fields__)
_RATES: Mapping[str, tuple[str, Callable[[str], object]]] = {
    "fmr": ("verify_target_fmr", float),
    "fpir": ("identify_target_fpir", float),
    "planned": ("planned_gallery_size", int),
    "frames": ("min_tracklet_frames", int),
}
_RATES_ALLOWED = "fmr=RATE, fpir=RATE, planned=SUBJECTS, frames=FRAMES, extrapolate; separated by commas"
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@dataclass(frozen=True, slots=True)
class CollectionWishes:
    """What was named on the command line; None and empty: not named."""

    display_name: str | None
    rates: Mapping[str, object]
    """By their names in `DecisionPolicy`."""
    measures: Mapping[str, float | None]
    """By their names in `QualityGate`; None: back to the encoder's own."""
    retention: timedelta | Literal["unlimited"] | None
    labels: Mapping[str, str]
    """An empty value takes the label away."""
    cameras: Mapping[str, DecisionPolicy]
    no_cameras: tuple[str, ...]
    keep_pictures: bool | None
    persistent_persons: bool | None
    person_retention: timedelta | None

    def policy(self, before: DecisionPolicy) -> DecisionPolicy | None:
        """The error rates with what is wanted; None: as they are."""
        return replace(before, **cast("dict[str, Any]", self.rates)) if self.rates else None

    def policy_of_new(self, modality: Modality) -> DecisionPolicy | None:
        """The error rates of a new collection; None: as the gallery has them."""
        if not self.rates:
            return None
        told = cast("Impostors | None", self.rates.get("impostors"))
        before = DecisionPolicy.usual(modality)
        if told is not None:
            before = replace(before, verify_target_fmr=told.default_target_fmr)
        return self.policy(before)

    def gate(self, before: QualityGate) -> QualityGate | None:
        """The quality gate with what is wanted; None: as it is."""
        return replace(before, **self.measures) if self.measures else None

    def labels_from(self, before: Mapping[str, str]) -> dict[str, str] | None:
        """The labels with what is wanted; None: as they are."""
        joined = {**before, **self.labels}
        return {key: value for key, value in joined.items() if value} if self.labels else None

    def cameras_from(self, before: Mapping[str, DecisionPolicy]) -> dict[str, DecisionPolicy] | None:
        """The rates of each camera with what is wanted; None: as they are."""
        joined = {**before, **self.cameras}
        kept = {name: policy for name, policy in joined.items() if name not in self.no_cameras}
        return kept if self.cameras or self.no_cameras else None


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    context.meta[f"{_META}{parameter.name}"] = value


def _option(*names: str, **attributes: Any) -> Callable[[Command], Command]:  # noqa: ANN401 - click's own
    return click.option(*names, expose_value=False, callback=_keep, **attributes)


def wishes_options(command: Command) -> Command:
    """Give a command what a collection can be told; `wishes` reads it, but for --duplicates and --outliers."""
    options = (
        _option("--name", "display_name", metavar="TEXT", help="The name that people read."),
        _option(
            "--fmr",
            type=RATE,
            metavar="RATE",
            help="False match rate of a verification; at first 1e-4, against skilled impostors 0.05.",
        ),
        _option(
            "--impostors",
            type=click.Choice([one.value.lower() for one in Impostors]),
            help="Whose false matches --fmr counts; at first random people, of signatures skilled forgers.",
        ),
        _option("--fpir", type=RATE, metavar="RATE", help="FPIR of a search by a stranger; at first 0.01."),
        _option(
            "--planned", type=click.IntRange(0), metavar="N", help="Subjects that thresholds are set for at least."
        ),
        _option(
            "--frames", type=click.IntRange(1, 100), metavar="N", help="Usable frames before a decision; at first 2."
        ),
        _option(
            "--extrapolate/--no-extrapolate",
            default=None,
            help="Allow rates that the calibration's data does not carry; answers say so.",
        ),
        _option(
            "--camera",
            nargs=2,
            multiple=True,
            metavar="NAME RATES",
            help=f"Other rates where this camera asks: {_RATES_ALLOWED}. What is left out has its default.",
        ),
        _option(
            "--gate",
            multiple=True,
            metavar="MEASURE=BOUND",
            help=f"What a picture must reach: {', '.join(_MEASURES)}. Without a bound: the encoder's own.",
        ),
        duplicates_option,
        outliers_option,
        _option(
            "--retention",
            metavar="TIME",
            help='Erase people so long after their last enrolment: 12h, 30d, 8w; "unlimited": keep them.',
        ),
        _option(
            "--persistent-persons/--no-persistent-persons",
            default=None,
            help="Of persons: allow enrolling them, and keeping looks for more than a day.",
        ),
        _option(
            "--person-retention",
            metavar="TIME",
            help="Of persons: erase what is kept of them so long after they were seen: 30m, 8h; 1d at most, 30d with "
            "--persistent-persons.",
        ),
        _option("--label", multiple=True, metavar="KEY=VALUE", help="Such as site=north; may be repeated."),
        _option(
            "--keep-pictures/--no-keep-pictures",
            default=None,
            help="Keep pictures of templates, sealed, for another encoder.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def no_camera_option(command: Command) -> Command:
    """Give a command --no-camera; `wishes` reads it."""
    return _option("--no-camera", multiple=True, metavar="NAME", help="This camera has the collection's rates again.")(
        command
    )


def wishes() -> CollectionWishes:
    """What the command that runs was told.

    Raises:
        Failure: a value cannot be read.
    """
    meta = click.get_current_context().meta
    told = {key.removeprefix(_META): value for key, value in meta.items() if key.startswith(_META)}
    rates = {field: told[name] for name, (field, _) in _RATES.items() if told[name] is not None}
    if told["impostors"] is not None:
        rates["impostors"] = Impostors(told["impostors"].upper())
    if told["extrapolate"] is not None:
        rates["allow_extrapolation"] = told["extrapolate"]
    return CollectionWishes(
        display_name=told["display_name"],
        rates=rates,
        measures=dict(_measure(text) for text in told["gate"]),
        retention=_retention(told["retention"]) if told["retention"] is not None else None,
        labels=dict(_pair("label", text) for text in told["label"]),
        cameras={name: _camera_policy(text) for name, text in told["camera"]},
        no_cameras=tuple(told.get("no_camera", ())),
        keep_pictures=told["keep_pictures"],
        persistent_persons=told["persistent_persons"],
        person_retention=_person_retention(told["person_retention"]) if told["person_retention"] is not None else None,
    )


def _pair(field: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Failure(f"--{field} {text} cannot be read", field=f"--{field}", value=text, allowed="NAME=VALUE")
    return name, value


def _measure(text: str) -> tuple[str, float | None]:
    name, value = _pair("gate", text)
    try:
        measure = _MEASURES[_MEASURES.index(name.replace("-", "_"))]
        return measure, float(value) if value else None
    except ValueError:
        allowed = f"one of {', '.join(_MEASURES)}, and a bound in [0, 1] or none"
        raise Failure(f"--gate {text} cannot be read", field="--gate", value=text, allowed=allowed) from None


def _retention(text: str) -> timedelta | Literal["unlimited"]:
    if text == UNLIMITED:
        return UNLIMITED
    parts = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if parts is None:
        allowed = "hours, days or weeks, such as 12h, 30d, 8w; or unlimited"
        raise Failure(f"--retention {text} cannot be read", field="--retention", value=text, allowed=allowed)
    return int(parts[1]) * _UNITS[parts[2]]


def _person_retention(text: str) -> timedelta:
    parts = re.fullmatch(r"(\d{1,6})([mhd])", text)
    if parts is None:
        allowed = "minutes, hours or days, such as 30m, 8h, 1d"
        field = "--person-retention"
        raise Failure(f"{field} {text} cannot be read", field=field, value=text, allowed=allowed)
    return int(parts[1]) * (timedelta(minutes=1) if parts[2] == "m" else _UNITS[parts[2]])


def _camera_policy(text: str) -> DecisionPolicy:
    values: dict[str, Any] = {}
    try:
        for part in text.split(","):
            name, _, value = part.strip().partition("=")
            if name == "extrapolate" and not value:
                values["allow_extrapolation"] = True
                continue
            field, kind = _RATES[name]
            values[field] = kind(value)
    except (KeyError, ValueError):
        raise Failure(
            f"--camera: {text} cannot be read", field="--camera", value=text, allowed=_RATES_ALLOWED
        ) from None
    return DecisionPolicy(**values)
