"""`tessera reembed`: moves a collection to another encoder, step by step, while it is searched."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tessera.cli.as_json import echo_json
from tessera.cli.call_failure import failure_of
from tessera.cli.connection import json_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.client.errors import TesseraCallError
from tessera.client.reembedding import CollectionMoves, ModelComparison, MoveProgress, ReembedStep
from tessera.client.sdk import DEFAULT_GALLERY

_NEXT = {
    "TEMPLATES_MISSING": "enrol these people again with pictures, or go on without them with --accept-loss",
    "NO_SHADOW": "--step shadow first, with the same --to",
    "NO_RETIRED_EPOCH": "give --to the model that was cut over to; after --step discard there is no way back",
    "MODEL_ACTIVE": "nothing is left to do: that model is searched",
    "MOVE_OPEN": "--step discard with the model of the move that is open",
    "REEMBED_UNDER_WAY": "wait for the step that is under way; one that was broken off ends within 30 s",
    "NO_CALIBRATION": "`tessera encoder list` shows the models; one without a calibration cannot decide",
    "CALIBRATION_TOO_SMALL": "raise the collection's error rates, or take a model with a larger calibration",
    "MODEL_MISMATCH": "`tessera encoder load` the model, then the same command again",
}
_STEPS = {step.value.lower().replace("_", "-"): step for step in ReembedStep}


@click.command("reembed")
@click.argument("collection_id", metavar="COLLECTION")
@click.option("--to", "model_id", required=True, metavar="MODEL", help="The model; the same in every step.")
@click.option("--step", "step_name", required=True, type=click.Choice(list(_STEPS)), help="What to do now.")
@click.option("--accept-loss", is_flag=True, help="Go on although templates are lost.")
@click.option("--subjects", type=click.IntRange(1, 10_000), default=200, show_default=True, help="That compare draws.")
@click.option("--request-id", default="", metavar="ID", help="In the audit log; compare draws the same people by it.")
@click.option("--yes", is_flag=True, help="Do not ask before discard.")
@click.option(
    "--gallery",
    metavar="ADDRESS",
    default=DEFAULT_GALLERY,
    show_default=True,
    envvar="TESSERA_GALLERY",
    show_envvar=True,
    help="Where the gallery listens.",
)
@click.option(
    "--deadline",
    "deadline_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="End after so long.",
)
@json_option
def reembed(  # noqa: PLR0917 - click passes them by name
    collection_id: str,
    model_id: str,
    step_name: str,
    accept_loss: bool,
    subjects: int,
    request_id: str,
    yes: bool,
    gallery: str,
    deadline_s: float | None,
) -> int:
    """Move COLLECTION to another encoder without stopping anything.

    \b
    shadow     embed the kept pictures with MODEL, beside the templates that are searched
    compare    measure what would change
    cut-over   search the new templates from now on
    roll-back  search the old ones again
    discard    drop the templates that are not searched

    Each step may be broken off with Ctrl-C, and the same command goes on from there.
    """
    step = _STEPS[step_name]
    if step is ReembedStep.DISCARD and not yes and not wants_json():
        click.confirm(f"Drop the templates of {collection_id} that are not searched? There is no way back", abort=True)
    with CollectionMoves(gallery) as moves:
        told = moves.step(
            collection_id,
            model_id,
            step,
            accept_loss=accept_loss,
            compare_subjects=subjects,
            request_id=request_id,
            deadline_s=deadline_s,
        )
        try:
            last = _followed(told, step_name)
        except TesseraCallError as error:
            raise _failure(error) from None
        except KeyboardInterrupt:
            click.echo("\nBroken off; the same command goes on from here.", err=True)
            return ExitCode.INTERRUPTED
    if wants_json():
        echo_json({"step": step_name, **_facts(last)})
    else:
        click.echo(_ended_text(collection_id, model_id, step, last))
    return ExitCode.DONE


def _followed(told: Generator[MoveProgress, None, None], step_name: str) -> MoveProgress:
    """Show a step on the terminal; gives its last word."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeRemainingColumn(),
    )
    last = MoveProgress(0, 0, 0, "")
    hidden = wants_json() or not console.is_terminal
    with closing(told), Progress(*columns, console=console, disable=hidden) as progress:
        task = progress.add_task(step_name, total=None, failed=0)
        for last in told:
            progress.update(task, completed=last.done + last.failed, total=last.total, failed=last.failed)
    return last


def _facts(last: MoveProgress) -> dict[str, object]:
    facts: dict[str, object] = {
        "templates_done": last.done,
        "templates_total": last.total,
        "templates_failed": last.failed,
        "model_id": last.model_id,
    }
    return facts | ({"comparison": last.comparison} if last.comparison is not None else {})


def _ended_text(collection_id: str, model_id: str, step: ReembedStep, last: MoveProgress) -> str:
    if last.comparison is not None:
        return _comparison_text(last.comparison)
    again = f"tessera reembed {collection_id} --to {model_id} --step"
    have = f"{last.done:,} of {last.total:,} templates"
    lines = {
        ReembedStep.SHADOW: [f"{have} of {collection_id} are there for {model_id}.", f"Next: {again} compare"],
        ReembedStep.CUT_OVER: [
            f"{collection_id} is searched by {last.model_id}, with {have}.",
            f"Back: {again} roll-back",
            f"Final: {again} discard",
        ],
        ReembedStep.ROLL_BACK: [f"{collection_id} is searched by {last.model_id} again, with {have}."],
        ReembedStep.DISCARD: [f"{collection_id} has the templates of {last.model_id} alone, {have}."],
    }.get(step, [])
    if last.failed:
        lines.insert(1, f"{last.failed:,} could not be embedded: no picture is kept of them, or not one face is in it.")
    return "\n".join(lines)


def _comparison_text(told: ModelComparison) -> str:
    agreed = (
        "not known: none of them has two templates" if told.rank1_agreement is None else _percent(told.rank1_agreement)
    )
    changed = "not known" if told.decisions_changed is None else _percent(told.decisions_changed)
    return "\n".join(
        [
            f"subjects drawn       {told.subjects:,}",
            f"same best subject    {agreed}",
            f"decisions changed    {changed}",
        ]
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _failure(error: TesseraCallError) -> Failure:
    failure = failure_of(error)
    failure.facts["next"] = _NEXT.get(error.reason, failure.facts["next"])
    return failure
