"""`tessera verify-jointly`: one person, a picture for each collection, one decision."""

from __future__ import annotations

from dataclasses import dataclass

import click

from tessera.cli.as_json import echo_json
from tessera.cli.comparisons import EXIT_CODES
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.failure import Failure
from tessera.cli.samples import ImageFile, read_samples
from tessera.cli.words import joint_text
from tessera.client import EvidencePiece

_LEAST = 2
_RATE = click.FloatRange(0, 1, min_open=True, max_open=True)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """COLLECTION=IMAGE or COLLECTION/SUBJECT=IMAGE, taken apart."""

    collection_id: str
    subject_id: str
    image: str


def _taken_apart(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[_Evidence, ...]:
    """Each piece; ids hold neither `=` nor `/`, and a picture's file exists."""
    return tuple(_evidence(context, parameter, value) for value in values)


def _evidence(context: click.Context, parameter: click.Parameter, value: str) -> _Evidence:
    where, given, image = value.partition("=")
    collection_id, _, subject_id = where.partition("/")
    if not (given and collection_id and image):
        raise click.BadParameter(
            f"{value!r} is not COLLECTION=IMAGE or COLLECTION/SUBJECT=IMAGE, as faces=door.jpg", context, parameter
        )
    return _Evidence(collection_id, subject_id, str(ImageFile().convert(image, parameter, context)))


@click.command("verify-jointly")
@click.argument("subject_id", metavar="SUBJECT")
@click.argument("evidence", callback=_taken_apart, nargs=-1, required=True, metavar="COLLECTION=IMAGE...")
@click.option(
    "--fmr",
    "target_fmr",
    type=_RATE,
    metavar="RATE",
    help="False match rate of the whole claim.  [default: the strictest of the collections' policies]",
)
@click.option("--require-all", is_flag=True, help="Decide only if every picture shows what is asked of it.")
@click.option("--score", "with_score", is_flag=True, help="Show the evidence as log-likelihood ratios too.")
@connection_options
def verify_jointly(
    subject_id: str,
    evidence: tuple[_Evidence, ...],
    target_fmr: float | None,
    require_all: bool,
    with_score: bool,
) -> int:
    """Is this the person who is enrolled as SUBJECT, by several kinds of evidence together?

    \b
    Each picture is for the collection before its =, each of another modality:
      tessera verify-jointly alice faces=door.jpg signatures=slip.png
    Where a collection knows the person by another id, it follows a /:
      tessera verify-jointly alice faces=door.jpg signatures/a-4711=slip.png

    Evidence that cannot be had, as from a picture without a face, counts as nothing unless --require-all.
    Exit codes: 0 match, 1 no match, 2 inconclusive.
    """
    if len(evidence) < _LEAST:
        raise Failure(
            "one piece of evidence was given; two or three are needed",
            field="COLLECTION=IMAGE",
            value=evidence[0].collection_id,
            allowed="a picture for each of two or three collections",
            next_step=f"for one alone: tessera verify {subject_id} IMAGE --collection {evidence[0].collection_id}",
        )
    samples = read_samples(tuple(one.image for one in evidence))
    pieces = [
        EvidencePiece(one.collection_id, sample, one.subject_id) for one, sample in zip(evidence, samples, strict=True)
    ]
    with connect() as tessera:
        answer = tessera.verify_jointly(
            subject_id, pieces, target_fmr=target_fmr, require_all=require_all, with_score=with_score
        )
    if wants_json():
        echo_json(answer)
    else:
        click.echo(joint_text(answer, subject_id))
    return EXIT_CODES[answer.outcome]
