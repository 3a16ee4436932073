"""`tessera explain`: where in a picture its score comes from, as a picture that people can look at."""

from __future__ import annotations

from pathlib import Path

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import (
    collection_option,
    connect,
    connection_options,
    given_deadline_s,
    modality_option,
    wanted_modality,
    wants_json,
)
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.samples import ImageFile, read_samples
from tessera.client.explanations import EXPLAIN_DEADLINE_S, Explanation, MatchExplanation
from tessera.domain.saliency import DEFAULT_GRID, LARGEST_GRID, LEAST_GRID

_DEFAULT_OUTPUT = "map.png"
_TELLS_LITTLE = 1.5


@click.command()
@click.argument("image", type=ImageFile(), metavar="IMAGE")
@click.argument("reference", type=ImageFile(), metavar="[REFERENCE]", required=False)
@click.option("--subject", "subject_id", default="", metavar="SUBJECT", help="Explain against somebody enrolled.")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    default=_DEFAULT_OUTPUT,
    show_default=True,
    help="Where the picture with the map goes, as PNG.",
)
@click.option(
    "--grid",
    type=click.IntRange(LEAST_GRID, LARGEST_GRID),
    default=DEFAULT_GRID,
    show_default=True,
    help="Rows and columns of the map.",
)
@click.option("--model", "model_id", default="", metavar="MODEL", help="Which encoder; not with --subject.")
@modality_option
@collection_option
@connection_options
def explain(
    *, image: str, reference: str | None, subject_id: str, output: Path, grid: int, model_id: str, collection_id: str
) -> int:
    """What in IMAGE makes it look like, or unlike, REFERENCE or the SUBJECT?

    Parts of the face, or strokes of the signature, are covered one by one, and the score is taken each time. That goes
    behind all other work and takes some seconds; without --deadline it may take 60. Red speaks for a match, blue
    against it. It decides nothing: `tessera verify` and `compare` do.
    Each picture has exactly one face, or one signature; - reads one of them from standard input.
    """
    _check_choice(reference, subject_id, model_id)
    samples = read_samples(tuple(name for name in (image, reference) if name is not None))
    with connect() as tessera:
        explained: Explanation | MatchExplanation
        deadline_s = given_deadline_s() or EXPLAIN_DEADLINE_S
        if subject_id:
            explained = tessera.explain_match(
                subject_id, samples[0], collection_id=collection_id, grid=grid, deadline_s=deadline_s
            )
        else:
            explained = tessera.explain(
                *samples, encoder=model_id, modality=wanted_modality(), grid=grid, deadline_s=deadline_s
            )
    _write(output, explained.map.overlay_png)
    if wants_json():
        echo_json(_plain(explained, output))
    else:
        click.echo(_text(explained, output))
    return ExitCode.DONE


def _check_choice(reference: str | None, subject_id: str, model_id: str) -> None:
    """Refuse what says twice, or not at all, what the picture is compared with."""
    if (reference is None) == (not subject_id):
        raise Failure(
            "the picture is compared with one thing",
            field="REFERENCE",
            value="both" if subject_id else "neither",
            allowed="a second picture, or --subject",
            next_step="tessera explain FIRST.jpg SECOND.jpg, or tessera explain PICTURE.jpg --subject SUBJECT",
        )
    if subject_id and model_id:
        raise Failure(
            "a subject is compared by the model of its collection",
            field="--model",
            value=model_id,
            allowed="nothing beside --subject",
        )


def _write(output: Path, png: bytes) -> None:
    try:
        output.write_bytes(png)
    except OSError as error:
        raise Failure(
            f"the map cannot be written: {error.strerror}",
            field="--output",
            value=str(output),
            allowed="a file in a folder that can be written to",
        ) from None


def _text(explained: Explanation | MatchExplanation, output: Path) -> str:
    drawn = explained.map
    lines = [
        f"{output}: red speaks for a match, blue against it ({drawn.method})",
        f"  covering the strongest tenth changes the score {drawn.faithfulness:.1f} times as much as a random tenth",
    ]
    if drawn.faithfulness < _TELLS_LITTLE:
        lines.append("  that is hardly more: the map tells little")
    if isinstance(explained, MatchExplanation):
        lines.append(f"  against template {explained.template_id}")
    return "\n".join(lines)


def _plain(explained: Explanation | MatchExplanation, output: Path) -> dict[str, object]:
    drawn = explained.map
    of_which = {"template_id": explained.template_id} if isinstance(explained, MatchExplanation) else {}
    of_what = {"model_id": explained.model_id} if isinstance(explained, Explanation) else {}
    return {
        "output": str(output),
        "weights": [[float(weight) for weight in row] for row in drawn.weights],
        "method": drawn.method,
        "faithfulness": drawn.faithfulness,
        "box": explained.box,
        "quality": explained.quality,
        **of_which,
        **of_what,
    }
