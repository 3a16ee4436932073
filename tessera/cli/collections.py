"""`tessera collections`: who is searched together, and what holds there."""

from __future__ import annotations

import click

from tessera.cli.as_json import echo_json
from tessera.cli.collection_options import UNLIMITED, no_camera_option, wishes, wishes_options
from tessera.cli.collection_text import list_text, show_text
from tessera.cli.connection import connect, connection_options, wants_json
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.client.answers import Collection, DuplicatePolicy, OutlierPolicy, QualityGate
from tessera.domain.embedding import Modality


@click.group()
def collections() -> None:
    """Make collections of people who are searched together, and say what holds in them."""


@collections.command("list")
@connection_options
def list_collections() -> int:
    """List all collections, one on a line."""
    with connect() as tessera:
        found = list(tessera.collections())
    if wants_json():
        echo_json({"collections": found})
    elif not found:
        click.echo("There is no collection yet. The first enrolment makes the one named default.")
    else:
        click.echo(list_text(found))
    return ExitCode.DONE


@collections.command("show")
@click.argument("collection_id", metavar="COLLECTION")
@connection_options
def show_collection(collection_id: str) -> int:
    """Show what holds in a collection."""
    with connect() as tessera:
        found = tessera.get_collection(collection_id)
    return _tell(found)


@collections.command("create")
@click.argument("collection_id", metavar="COLLECTION")
@click.option(
    "--modality",
    type=click.Choice([modality.value.lower() for modality in Modality]),
    default=Modality.FACE.value.lower(),
    show_default=True,
    help="What its pictures show.",
)
@click.option("--model", "model_id", default="", metavar="ID", help="Its encoder.  [default: the modality's]")
@click.option("--shards", type=click.IntRange(1, 64), metavar="N", help="Parts that it is spread over, for ever.")
@wishes_options
@connection_options
def create_collection(  # noqa: PLR0917 - click passes them by name
    collection_id: str,
    modality: str,
    model_id: str,
    shards: int | None,
    duplicate_policy: DuplicatePolicy | None,
    outlier_policy: OutlierPolicy | None,
) -> int:
    """Make a collection.

    A rate that the calibration's data cannot carry is refused, unless --extrapolate is given.
    """
    wanted = wishes()
    with connect() as tessera:
        made = tessera.create_collection(
            collection_id,
            display_name=wanted.display_name or "",
            modality=Modality(modality.upper()),
            model_id=model_id,
            policy=wanted.policy_of_new(Modality(modality.upper())),
            quality_gate=wanted.gate(QualityGate()),
            duplicate_policy=duplicate_policy,
            outlier_policy=outlier_policy,
            retention=None if wanted.retention == UNLIMITED else wanted.retention,
            labels=wanted.labels_from({}),
            camera_policies=wanted.cameras_from({}),
            shard_count=shards or 0,
            keep_source_images=bool(wanted.keep_pictures),
            allow_persistent_persons=bool(wanted.persistent_persons),
            person_retention=wanted.person_retention,
        )
    return _tell(made)


@collections.command("update")
@click.argument("collection_id", metavar="COLLECTION")
@wishes_options
@no_camera_option
@connection_options
def update_collection(
    collection_id: str, duplicate_policy: DuplicatePolicy | None, outlier_policy: OutlierPolicy | None
) -> int:
    """Change what holds in a collection from now on; what is not named stays.

    People who are enrolled stay as they are, but for --retention: it holds for them too.
    """
    wanted = wishes()
    with connect() as tessera:
        found = tessera.get_collection(collection_id)
        policy, gate = wanted.policy(found.policy), wanted.gate(found.quality_gate)
        labels, cameras = wanted.labels_from(found.labels), wanted.cameras_from(found.camera_policies)
        changes = (wanted.display_name, policy, gate, labels, cameras, wanted.retention, wanted.keep_pictures)
        persons = (wanted.persistent_persons, wanted.person_retention)
        if all(change is None for change in (*changes, *persons, duplicate_policy, outlier_policy)):
            raise Failure("nothing to change was named", field="options", allowed="at least one", reason="USAGE")
        changed = tessera.update_collection(
            collection_id,
            display_name=wanted.display_name,
            policy=policy,
            quality_gate=gate,
            duplicate_policy=duplicate_policy,
            outlier_policy=outlier_policy,
            retention=wanted.retention,
            labels=labels,
            camera_policies=cameras,
            keep_source_images=wanted.keep_pictures,
            allow_persistent_persons=wanted.persistent_persons,
            person_retention=wanted.person_retention,
            expected_revision=found.revision,
        )
    return _tell(changed)


@collections.command("delete")
@click.argument("collection_id", metavar="COLLECTION")
@click.option("--force", is_flag=True, help="Also when there are people in it: they are erased.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
def delete_collection(collection_id: str, force: bool, yes: bool) -> int:
    """Delete a collection; with --force the people in it too."""
    if force and not yes and not wants_json():
        click.confirm(f"Delete {collection_id} and erase everybody in it?", abort=True)
    with connect() as tessera:
        erased = tessera.delete_collection(collection_id, force=force)
    if wants_json():
        echo_json({"collection_id": collection_id, "subjects_deleted": erased})
    else:
        click.echo(f"Deleted {collection_id}" + (f" with {erased} people" if erased else ""))
    return ExitCode.DONE


def _tell(one: Collection) -> int:
    if wants_json():
        echo_json(one)
    else:
        click.echo(show_text(one))
    return ExitCode.DONE
