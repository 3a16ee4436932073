"""`tessera correct`: somebody who knows says that a decision was wrong."""

from __future__ import annotations

import click

from tessera.cli.as_json import echo_json
from tessera.cli.connection import collection_option, connect, connection_options, modality_option, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.samples import ImageFile, read_samples
from tessera.client.answers import Correction, CorrectionAction, TemplateCorrection, Verdict

_DONE = {
    CorrectionAction.KEPT: "kept",
    CorrectionAction.REMOVED: "removed",
    CorrectionAction.ADDED: "added",
    CorrectionAction.REFUSED: "refused",
    CorrectionAction.UNSPECIFIED: "left to a later version",
}


@click.command()
@click.argument("subject_id", metavar="SUBJECT")
@click.argument("image", type=ImageFile(), metavar="PICTURE")
@click.option("--not-this", is_flag=True, help="The picture is not of SUBJECT, although it matched.")
@click.option("--this", is_flag=True, help="The picture is of SUBJECT, although it did not match.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--evidence", "evidence_id", default="", metavar="ID", help="Of the wrong decision, for the audit log.")
@click.option("--request-id", default="", metavar="ID", help="The same id adds a picture once.")
@modality_option
@collection_option
@connection_options
def correct(  # noqa: PLR0917 - click passes them by name
    subject_id: str,
    image: str,
    not_this: bool,
    this: bool,
    dry_run: bool,
    evidence_id: str,
    request_id: str,
    collection_id: str,
) -> int:
    """Say that a decision about SUBJECT was wrong, and show the PICTURE again.

    \b
    --not-this  removes templates that match the picture and do not look like the person's others.
                Templates that look like each other stay, and the answer says why.
    --this      makes the picture a template, if it is good enough and nobody else's.

    Exit codes: 0 done, or nothing to be done; 3 the picture was refused.
    """
    verdict = _verdict(not_this=not_this, this=this)
    (sample,) = read_samples((image,))
    with connect() as tessera:
        correction = tessera.correct(
            subject_id,
            sample,
            verdict,
            collection_id=collection_id,
            dry_run=dry_run,
            evidence_id=evidence_id,
            request_id=request_id,
        )
    if wants_json():
        echo_json({**_facts(correction), "dry_run": dry_run})
    else:
        click.echo(_correction_text(correction, verdict, dry_run=dry_run))
    return ExitCode.BAD_INPUT if correction.having(CorrectionAction.REFUSED) else ExitCode.DONE


def _verdict(*, not_this: bool, this: bool) -> Verdict:
    if not_this is this:
        given = "--not-this --this" if this else ""
        raise Failure("what is wrong with the decision was not said", field="verdict", value=given, allowed=_ALLOWED)
    return Verdict.THIS_SUBJECT if this else Verdict.NOT_THIS_SUBJECT


_ALLOWED = "one of --not-this and --this"


def _facts(correction: Correction) -> dict[str, object]:
    return {
        "corrections": correction.corrections,
        "subject": correction.subject,
        "position": correction.position,
    }


def _correction_text(correction: Correction, verdict: Verdict, *, dry_run: bool) -> str:
    who = correction.subject.subject_id
    if not correction.corrections:
        return f"Nothing to correct: no template of {who} matches the picture"
    templates = len(correction.subject.templates)
    has = f"{templates} template" if templates == 1 else f"{templates} templates"
    state = f"nothing was changed; {who} has {has}" if dry_run or not correction.position else f"{who} now has {has}"
    head = f"Not {who}" if verdict is Verdict.NOT_THIS_SUBJECT else f"{who} after all"
    would = " (dry run)" if dry_run else ""
    return "\n".join([f"{head}{would}: {state}", *(_line(one) for one in correction.corrections)])


def _line(one: TemplateCorrection) -> str:
    what = f"template {one.template_id}" if one.template_id else "the picture"
    return f"  {what}: {_DONE[one.action]}" + (f"; {one.detail}" if one.detail else "")
