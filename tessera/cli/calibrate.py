"""`tessera calibrate`: from labelled data to thresholds that stand for error rates; which one decides; a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tessera.cli.as_json import echo_json
from tessera.cli.calibration_files import EmbeddingFile, read_embeddings, read_groups, read_scores
from tessera.cli.calibration_pictures import embed_folder
from tessera.cli.calibration_text import line_text, list_text, show_text
from tessera.cli.connection import connect, connection_options, json_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.client.calibrations import Activation, StoredCalibration
from tessera.client.sdk import DEFAULT_ENCODER
from tessera.domain.calibration import DEFAULT_TARGET_FMR, DEFAULT_TARGET_FPIR
from tessera.domain.embedding import Modality
from tessera.domain.errors import CalibrationTooSmallError, InvalidInputError, TesseraError, UnavailableError
from tessera.domain.fitting import Provenance
from tessera.domain.ids import CalibrationId, ModelId
from tessera.report import CalibrationReport, EnrolmentFailures, render
from tessera.report.measuring import ReportOptions, report_on_embeddings, report_on_scores

_FIT_DEADLINE_S = 600.0
_UNKNOWN_MODEL = "unknown-model"
_RATE = click.FloatRange(0, 1, min_open=True, max_open=True)

Command = TypeVar("Command", bound=Callable[..., Any])


@click.group()
def calibrate() -> None:
    """Fit thresholds to error rates, choose which calibration decides, and write a report."""


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the data is; one of them."""

    scores: Path | None
    embeddings: Path | None
    pictures: Path | None
    collection_id: str | None
    independent: bool

    def require_one(self, allowed: str) -> None:
        """Refuse none and several."""
        given = [one for one in (self.scores, self.embeddings, self.pictures, self.collection_id) if one is not None]
        if len(given) != 1:
            raise Failure(
                f"{len(given)} sources of data were given; one is needed", field="source", allowed=allowed,
                value=", ".join(map(str, given)), reason="USAGE",
            )  # fmt: skip
        if self.independent and self.scores is None:
            raise Failure("--independent says something of --scores alone", field="--independent", reason="USAGE")


def _data_options(command: Command) -> Command:
    file = click.Path(exists=True, dir_okay=False, path_type=Path)
    options = (
        click.option("--scores", type=file, metavar="FILE", help="CSV or npz: score, mated (1 or 0), first, second."),
        click.option("--embeddings", type=file, metavar="FILE.npz", help="Arrays vectors (n, d) and subjects (n,)."),
        click.option(
            "--pictures",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            metavar="DIR",
            help="A folder for each person: DIR/PERSON/*.jpg, through the encoder.",
        ),
        click.option("--independent", is_flag=True, help="No two of the scores share a person; they need no names."),
        click.option(
            "--model", "model_id", default="", metavar="MODEL_ID", help="Whose they are; the encoder of pictures."
        ),
        click.option("--name", "data_name", default="", metavar="TEXT", help="Of the data.  [default: the file's]"),
    )
    for option in reversed(options):
        command = option(command)
    return command


# ---- fit


@calibrate.command(context_settings={"default_map": {"deadline": _FIT_DEADLINE_S}})
@_data_options
@click.option("--collection", "collection_id", metavar="ID", help="The templates that are enrolled there.")
@click.option("--id", "calibration_id", default="", metavar="ID", help="Its name.  [default: one is made]")
@click.option("--strictest-fmr", type=_RATE, metavar="RATE", help="Fail unless the data can carry this rate.")
@click.option("--activate", is_flag=True, help="Let it decide from now on.")
@click.option("--request-id", default="", metavar="ID", help="The same id fits once.  [default: a new one]")
@connection_options
def fit(  # noqa: PLR0917 - click passes them by name
    scores: Path | None,
    embeddings: Path | None,
    pictures: Path | None,
    independent: bool,
    model_id: str,
    data_name: str,
    collection_id: str | None,
    calibration_id: str,
    strictest_fmr: float | None,
    activate: bool,
    request_id: str,
) -> int:
    """Fit a calibration from scores, embeddings, pictures or a collection, and keep it in the gallery.

    It decides only with --activate, or after `tessera calibrate activate`.
    """
    source = _Source(scores, embeddings, pictures, collection_id, independent)
    source.require_one("--scores, --embeddings, --pictures or --collection")
    with _told_in_words():
        stored = _fitted(
            source, model_id, data_name,
            calibration_id=calibration_id, strictest_fmr=strictest_fmr, activate=activate, request_id=request_id,
        )  # fmt: skip
    if wants_json():
        echo_json(stored)
    else:
        click.echo(show_text(stored))
        if not stored.active:
            click.echo(f"Next: tessera calibrate activate {stored.calibration.calibration_id}")
    return ExitCode.DONE


def _fitted(
    source: _Source,
    model_id: str,
    data_name: str,
    *,
    calibration_id: str,
    strictest_fmr: float | None,
    activate: bool,
    request_id: str,
) -> StoredCalibration:
    with connect() as tessera:
        found = tessera.calibrations
        if source.collection_id is not None:
            return found.fit_collection(
                source.collection_id, model_id=model_id, calibration_id=calibration_id,
                strictest_fmr=strictest_fmr, activate=activate, request_id=request_id,
            )  # fmt: skip
        if source.scores is not None:
            file = read_scores(source.scores, independent=source.independent)
            return found.fit_scores(
                file.scores, _required(model_id), data_name=data_name or source.scores.name, data_digest=file.digest,
                calibration_id=calibration_id, strictest_fmr=strictest_fmr, activate=activate, request_id=request_id,
            )  # fmt: skip
        embedded, name = _embedded(source, model_id)
        return found.fit_embeddings(
            embedded.vectors, embedded.subjects, _required(model_id or embedded.model_id),
            data_name=data_name or name, data_digest=embedded.digest, calibration_id=calibration_id,
            strictest_fmr=strictest_fmr, activate=activate, request_id=request_id,
        )  # fmt: skip


def _required(model_id: str) -> str:
    if not model_id:
        raise InvalidInputError("--model", "", "the model whose scores or embeddings they are")
    return model_id


def _embedded(source: _Source, model_id: str) -> tuple[EmbeddingFile, str]:
    """Embeddings out of a file or of pictures, and what the data is called."""
    if source.embeddings is not None:
        return read_embeddings(source.embeddings), source.embeddings.name
    folder = source.pictures or Path()
    encoder = click.get_current_context().meta.get("tessera.encoder", DEFAULT_ENCODER)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=wants_json() or not console.is_terminal) as progress:
        task = progress.add_task("embedding", total=None)
        embedded = embed_folder(
            folder, encoder, model_id, lambda done, total: progress.update(task, completed=done, total=total)
        )
    return embedded, folder.resolve().name


# ---- which one decides


@calibrate.command("list")
@click.option("--model", "model_id", default="", metavar="MODEL_ID", help="Only of this model.")
@connection_options
def list_calibrations(model_id: str) -> int:
    """List the calibrations of the gallery, by model."""
    with connect() as tessera:
        found = tessera.calibrations.list(model_id)
    if wants_json():
        echo_json({"calibrations": found})
    else:
        click.echo(list_text(found) or "There is no calibration. `tessera calibrate fit` makes one.")
    return ExitCode.DONE


@calibrate.command()
@click.argument("calibration_id", metavar="ID")
@connection_options
def show(calibration_id: str) -> int:
    """Show a calibration: what it was measured on, and its thresholds by error rate."""
    with connect() as tessera:
        stored = tessera.calibrations.get(calibration_id)
    if wants_json():
        echo_json(stored)
    else:
        click.echo(show_text(stored))
    return ExitCode.DONE


_expect_option = click.option(
    "--expect", "expected_active_id", default="", metavar="ID", help="Only if this one decides now."
)


@calibrate.command()
@click.argument("calibration_id", metavar="ID")
@_expect_option
@connection_options
def activate(calibration_id: str, expected_active_id: str) -> int:
    """Let a calibration decide for its model from now on."""
    with connect() as tessera:
        changed = tessera.calibrations.activate(calibration_id, expected_active_id=expected_active_id)
    return _tell(changed)


@calibrate.command()
@click.argument("model_id", metavar="MODEL_ID")
@_expect_option
@connection_options
def rollback(model_id: str, expected_active_id: str) -> int:
    """Let the calibration decide again that did before the present one."""
    with connect() as tessera:
        changed = tessera.calibrations.roll_back(model_id, expected_active_id=expected_active_id)
    return _tell(changed)


def _tell(changed: Activation) -> int:
    if wants_json():
        echo_json(changed)
    else:
        click.echo(f"Decides now: {line_text(changed.activated)}")
        if changed.previous_calibration_id:
            click.echo(f"Before:      {changed.previous_calibration_id}")
            click.echo(f"Back:        tessera calibrate rollback {changed.activated.calibration.model_id}")
    return ExitCode.DONE


# ---- the report


@calibrate.command()
@_data_options
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.html",
    help="Where the page goes.",
)  # fmt: skip
@click.option(
    "--groups", "groups_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.csv",
    help="Columns subject and group.",
)  # fmt: skip
@click.option("--fmr", "target_fmr", type=_RATE, default=DEFAULT_TARGET_FMR, show_default=True, metavar="RATE",
              help="That the summary speaks of.")  # fmt: skip
@click.option("--fpir", "target_fpir", type=_RATE, default=DEFAULT_TARGET_FPIR, show_default=True, metavar="RATE",
              help="Of searches.")  # fmt: skip
@click.option("--extrapolate", is_flag=True, help="Also state thresholds beyond the data, marked as such.")
@click.option("--modality", type=click.Choice([one.value.lower() for one in Modality]),
              help="Of scores and embeddings.  [default: what the file says, else face]")  # fmt: skip
@click.option("--encoder", metavar="ADDRESS", default=DEFAULT_ENCODER, show_default=True, envvar="TESSERA_ENCODER",
              show_envvar=True, help="Where the encoder listens, for --pictures.")  # fmt: skip
@json_option
def report(  # noqa: PLR0917 - click passes them by name
    scores: Path | None,
    embeddings: Path | None,
    pictures: Path | None,
    independent: bool,
    model_id: str,
    data_name: str,
    out: Path,
    groups_file: Path | None,
    target_fmr: float,
    target_fpir: float,
    extrapolate: bool,
    modality: str | None,
    encoder: str,
) -> int:
    """Measure labelled data and write one HTML page about it; nothing is kept, and no decision changes.

    Scores and embeddings need no service; pictures go through the encoder.
    """
    source = _Source(scores, embeddings, pictures, None, independent)
    source.require_one("--scores, --embeddings or --pictures")
    asked = Modality(modality.upper()) if modality else None
    if pictures is not None and asked not in {None, Modality.FACE}:
        raise Failure(
            "pictures are embedded as faces", field="--modality", value=str(modality), allowed="face",
            next_step="give the embeddings of another encoder with --embeddings",
        )  # fmt: skip
    click.get_current_context().meta["tessera.encoder"] = encoder
    now = datetime.now(UTC)
    with _told_in_words():
        options = ReportOptions(
            written=f"{now:%Y-%m-%d}",
            groups=read_groups(groups_file) if groups_file is not None else {},
            target_fmr=target_fmr,
            target_fpir=target_fpir,
            extrapolate=extrapolate,
        )
        told = _measured(source, _Labels(model_id, data_name, asked), options)
    out.write_text(render(told), encoding="utf-8")
    if wants_json():
        echo_json({"file": str(out), "report": told})
    else:
        click.echo(f"{out}: {told.calibration.data.name}, {told.calibration.model_id}")
    return ExitCode.DONE


@dataclass(frozen=True, slots=True)
class _Labels:
    """What the data is called; empty or None: what the data itself says."""

    model_id: str
    data_name: str
    modality: Modality | None

    def provenance(self, name: str, digest: str, options: ReportOptions) -> Provenance:
        """Where the thresholds come from, of data with this name."""
        model = self.model_id or _UNKNOWN_MODEL
        calibration_id = CalibrationId(f"{model.partition('@')[0]}-{digest[:8]}-{options.written.replace('-', '')}")
        modality = self.modality or Modality.FACE
        return Provenance(calibration_id, ModelId(model), modality, options.written, self.data_name or name, digest)


def _measured(source: _Source, labels: _Labels, options: ReportOptions) -> CalibrationReport:
    if source.scores is not None:
        file = read_scores(source.scores, independent=source.independent)
        provenance = labels.provenance(source.scores.name, file.digest, options)
        return report_on_scores(file.scores, file.names, provenance, options, independent=source.independent)
    embedded, name = _embedded(source, labels.model_id)
    labels = replace(
        labels, model_id=labels.model_id or embedded.model_id, modality=labels.modality or embedded.modality
    )
    provenance = labels.provenance(name, embedded.digest, options)
    enrolment = EnrolmentFailures(embedded.samples_tried, embedded.without_face) if embedded.samples_tried else None
    return report_on_embeddings(embedded.vectors, embedded.subjects, provenance, options.with_enrolment(enrolment))


@contextmanager
def _told_in_words() -> Iterator[None]:
    """What the data is not, as a failure with what would be right."""
    try:
        yield
    except InvalidInputError as error:
        raise Failure(str(error), field=error.field, value=str(error.value), allowed=error.allowed) from None
    except CalibrationTooSmallError as error:
        raise Failure(
            str(error), value=f"{error.comparisons:,}", allowed=f"{error.comparisons_needed:,} comparisons or more",
            reason="CALIBRATION_TOO_SMALL", next_step="bring more people, or ask for a higher error rate",
        ) from None  # fmt: skip
    except UnavailableError as error:
        raise Failure(
            str(error), exit_code=ExitCode.UNAVAILABLE, code="UNAVAILABLE", reason="UNAVAILABLE",
            next_step="start everything with `tessera up`, or name the encoder with --encoder",
        ) from None  # fmt: skip
    except TesseraError as error:
        raise Failure(str(error)) from None
