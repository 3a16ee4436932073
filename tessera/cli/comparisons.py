"""`tessera verify`, `identify` and `compare`: pictures in, decisions out, and an exit code for each decision."""

from __future__ import annotations

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import (
    collection_option,
    connect,
    connection_options,
    modality_option,
    wanted_modality,
    wants_json,
)
from tessera.cli.exit_codes import ExitCode
from tessera.cli.samples import ImageFile, read_samples
from tessera.cli.words import decision_text, quality_text
from tessera.client.answers import Identification
from tessera.domain.calibration import Impostors
from tessera.domain.decision import Outcome

EXIT_CODES = {
    Outcome.MATCH: ExitCode.DONE,
    Outcome.NO_MATCH: ExitCode.NO_MATCH,
    Outcome.UNKNOWN: ExitCode.UNDECIDED,
    Outcome.INCONCLUSIVE: ExitCode.UNDECIDED,
}
"""Of a decision; a script reads it."""
_RATE = click.FloatRange(0, 1, min_open=True, max_open=True)
_score_option = click.option("--score", "with_score", is_flag=True, help="Show the raw score too.")
_fmr_option = click.option(
    "--fmr",
    "target_fmr",
    type=_RATE,
    metavar="RATE",
    help="False match rate to decide at.  [default: the collection's; of compare 1e-4, of signatures 0.05]",
)


@click.command()
@click.argument("subject_id", metavar="SUBJECT")
@click.argument("image", type=ImageFile())
@_fmr_option
@_score_option
@modality_option
@collection_option
@connection_options
def verify(subject_id: str, image: str, target_fmr: float | None, with_score: bool, collection_id: str) -> int:
    """Is this the person who is enrolled as SUBJECT?

    IMAGE is a JPEG, PNG, WebP or BMP file with one face, or one signature; - reads it from standard input.
    Exit codes: 0 match, 1 no match, 2 inconclusive.
    """
    (sample,) = read_samples((image,))
    with connect() as tessera:
        answer = tessera.verify(
            subject_id, sample, target_fmr=target_fmr, with_score=with_score, collection_id=collection_id
        )
    if wants_json():
        echo_json(answer)
    else:
        click.echo(decision_text(answer, subject_id, with_score=with_score))
    return EXIT_CODES[answer.outcome]


@click.command()
@click.argument("first", type=ImageFile(), metavar="IMAGE")
@click.argument("second", type=ImageFile(), metavar="IMAGE")
@_fmr_option
@click.option(
    "--impostors",
    type=click.Choice([one.value.lower() for one in Impostors]),
    help="Whose false matches --fmr counts.  [default: random; of signatures skilled]",
)
@_score_option
@modality_option
@connection_options
def compare(first: str, second: str, target_fmr: float | None, impostors: str | None, with_score: bool) -> int:
    """Are these two the same person? Nothing is kept.

    Each IMAGE has one face, or one signature; - reads one of them from standard input.
    Exit codes: 0 match, 1 no match, 2 inconclusive.
    """
    one, other = read_samples((first, second))
    with connect() as tessera:
        answer = tessera.compare(
            one,
            other,
            target_fmr=target_fmr,
            modality=wanted_modality(),
            impostors=Impostors(impostors.upper()) if impostors else None,
            with_score=with_score,
        )
    if wants_json():
        echo_json(answer)
    else:
        click.echo(decision_text(answer, with_score=with_score))
    return EXIT_CODES[answer.outcome]


@click.command()
@click.argument("image", type=ImageFile())
@click.option(
    "--fpir",
    "target_fpir",
    type=_RATE,
    metavar="RATE",
    help="False-positive identification rate of the search.  [default: 0.01]",
)
@click.option(
    "--max-faces", type=click.IntRange(1, 64), default=16, show_default=True, help="Faces to search, largest first."
)
@_score_option
@modality_option
@collection_option
@connection_options
def identify(image: str, target_fpir: float | None, max_faces: int, with_score: bool, collection_id: str) -> int:
    """Who is this, if anybody who is enrolled?

    Every face, or signature, in IMAGE is searched; - reads the picture from standard input.
    Exit codes: 0 somebody matched, 2 all are unknown or inconclusive.
    """
    (sample,) = read_samples((image,))
    with connect() as tessera:
        answers = tessera.identify(
            sample, target_fpir=target_fpir, max_faces=max_faces, with_score=with_score, collection_id=collection_id
        )
    if wants_json():
        echo_json({"identifications": answers})
    else:
        for answer in answers:
            click.echo(_identification_text(answer, with_score=with_score))
    matched = any(answer.outcome is Outcome.MATCH for answer in answers)
    return ExitCode.DONE if matched else ExitCode.UNDECIDED


def _identification_text(answer: Identification, *, with_score: bool) -> str:
    who = answer.subject_id
    if answer.display_name and answer.display_name != who:
        who = f"{answer.display_name} ({who})"
    line = decision_text(answer, who, with_score=with_score)
    if answer.box is not None:
        line += f"\n  {wanted_modality().value.lower()} at {answer.box.x_px:.0f},{answer.box.y_px:.0f}"
        line += f", {answer.box.width_px:.0f}x{answer.box.height_px:.0f} px"
        line += f", {quality_text(answer.quality)}" if answer.quality is not None else ""
    return line
