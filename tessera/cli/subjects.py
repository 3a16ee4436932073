"""`tessera enroll` and `tessera subjects`: the people who are known. What an enrolment found is worded beside it."""

from __future__ import annotations

import click

from tessera.cli.as_json import echo_json
from tessera.cli.choices import duplicates_option, outliers_option
from tessera.cli.connection import collection_option, connect, connection_options, modality_option, wants_json
from tessera.cli.enrolment_text import count_text, enrolment_text
from tessera.cli.exit_codes import ExitCode
from tessera.cli.samples import ImageFile, read_samples
from tessera.client.answers import DuplicatePolicy, OutlierPolicy, Subject


@click.command()
@click.argument("subject_id", metavar="SUBJECT")
@click.argument("images", type=ImageFile(), nargs=-1, required=True, metavar="IMAGE...")
@click.option("--name", "display_name", default="", metavar="TEXT", help="The name that people read.")
@click.option("--label", "labels", multiple=True, metavar="TEXT", help='Such as "staff"; may be repeated.')
@click.option("--consent", "consent_reference", default="", metavar="TEXT", help="Where the consent is recorded.")
@click.option("--require-all", is_flag=True, help="Enrol nothing unless every picture is good enough.")
@click.option("--request-id", default="", metavar="ID", help="The same id with the same pictures enrols once.")
@duplicates_option
@outliers_option
@modality_option
@collection_option
@connection_options
def enroll(  # noqa: PLR0917 - click passes them by name
    subject_id: str,
    images: tuple[str, ...],
    display_name: str,
    labels: tuple[str, ...],
    consent_reference: str,
    require_all: bool,
    request_id: str,
    duplicate_policy: DuplicatePolicy | None,
    outlier_policy: OutlierPolicy | None,
    collection_id: str,
) -> int:
    """Add pictures of a person, and the person when SUBJECT is new.

    Each IMAGE shows this one person alone, from near, looking at the camera, or one signature; 1 to 16 of them, - reads
    one from standard input. A picture that is not good enough, or does not look like the person's others, is told with
    its reason; the others are enrolled. Whoever looks like the person and is enrolled already is told too.
    """
    samples = read_samples(images)
    with connect() as tessera:
        enrolment = tessera.enroll(
            subject_id,
            samples,
            collection_id=collection_id,
            display_name=display_name,
            labels=labels,
            consent_reference=consent_reference,
            require_all=require_all,
            duplicate_policy=duplicate_policy,
            outlier_policy=outlier_policy,
            request_id=request_id,
        )
    if wants_json():
        echo_json(enrolment)
    else:
        click.echo(enrolment_text(enrolment, images, subject_id))
    return ExitCode.DONE


@click.group()
def subjects() -> None:
    """List, show, keep apart or erase the people who are enrolled."""


@subjects.command("list")
@click.option("--label", "labels", multiple=True, metavar="TEXT", help="Only people with this label; may be repeated.")
@modality_option
@collection_option
@connection_options
def list_subjects(labels: tuple[str, ...], collection_id: str) -> int:
    """List everybody, one on a line."""
    with connect() as tessera:
        found = list(tessera.subjects(collection_id=collection_id, labels=labels))
    if wants_json():
        echo_json({"subjects": found})
    elif not found:
        click.echo("Nobody is enrolled. `tessera enroll SUBJECT IMAGE` adds somebody.")
    else:
        width = max(len(subject.subject_id) for subject in found)
        for subject in found:
            templates = count_text(len(subject.templates), "template")
            click.echo(f"{subject.subject_id:<{width}}  {templates:>12}  {subject.display_name}".rstrip())
    return ExitCode.DONE


@subjects.command("show")
@click.argument("subject_id", metavar="SUBJECT")
@modality_option
@collection_option
@connection_options
def show_subject(subject_id: str, collection_id: str) -> int:
    """Show one person and the templates."""
    with connect() as tessera:
        subject = tessera.get_subject(subject_id, collection_id=collection_id)
    if wants_json():
        echo_json(subject)
    else:
        click.echo(_subject_text(subject))
    return ExitCode.DONE


def _subject_text(subject: Subject) -> str:
    rows = {
        "subject": subject.subject_id,
        "name": subject.display_name,
        "collection": subject.collection_id,
        "labels": ", ".join(subject.labels),
        "consent": subject.consent_reference,
        "is not": ", ".join(subject.distinct_from),
        "enrolled": f"{subject.created_at.astimezone():%Y-%m-%d %H:%M:%S}",
        "changed": f"{subject.updated_at.astimezone():%Y-%m-%d %H:%M:%S}",
    }
    lines = [f"{name:<11}{value}" for name, value in rows.items() if value]
    for template in subject.templates:
        made = f"{template.created_at.astimezone():%Y-%m-%d %H:%M:%S}"
        lines.append(f"{'template':<11}{template.template_id}  {template.model_id}  {made}")
    return "\n".join(lines)


@subjects.command("keep-apart")
@click.argument("subject_id", metavar="SUBJECT")
@click.argument("others", metavar="OTHER...", nargs=-1, required=True)
@modality_option
@collection_option
@connection_options
def keep_apart(subject_id: str, others: tuple[str, ...], collection_id: str) -> int:
    """Say that people who look alike are different people: they are not told as duplicates of each other again."""
    with connect() as tessera:
        known = tessera.get_subject(subject_id, collection_id=collection_id)
        for other in others:
            tessera.get_subject(other, collection_id=collection_id)  # a name mistyped would keep nobody apart
        change = tessera.update_subject(
            subject_id,
            collection_id=collection_id,
            distinct_from=tuple(dict.fromkeys((*known.distinct_from, *others))),
            expected_revision=known.revision,
        )
    if wants_json():
        echo_json(change.subject)
    else:
        click.echo(f"{subject_id} is known to be another than {', '.join(change.subject.distinct_from)}")
    return ExitCode.DONE


@subjects.command("delete")
@click.argument("subject_id", metavar="SUBJECT")
@click.option("--yes", is_flag=True, help="Do not ask.")
@modality_option
@collection_option
@connection_options
def delete_subject(subject_id: str, yes: bool, collection_id: str) -> int:
    """Erase a person with every template; answers with a receipt."""
    if not yes and not wants_json():
        click.confirm(f"Erase {subject_id} and every template?", abort=True)
    with connect() as tessera:
        receipt = tessera.delete_subject(subject_id, collection_id=collection_id)
    if wants_json():
        echo_json(receipt)
    else:
        erased = count_text(receipt.templates_erased, "template")
        click.echo(f"Erased {receipt.subject_id} with {erased}; receipt {receipt.receipt_id}")
    return ExitCode.DONE
