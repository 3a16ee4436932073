"""How a command reaches the services: options that many commands share, one connection, failures told in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from tessera.cli.call_failure import failure_of
from tessera.cli.failure import Failure
from tessera.client import Tessera
from tessera.client.collection_files import CollectionFiles
from tessera.client.errors import TesseraCallError
from tessera.client.sdk import DEFAULT_DEADLINE_S, DEFAULT_ENCODER, DEFAULT_GALLERY, DEFAULT_GATEWAY, DEFAULT_INGEST
from tessera.domain.default_collections import DEFAULT_COLLECTIONS
from tessera.domain.embedding import Modality
from tessera.domain.errors import InvalidInputError

Command = TypeVar("Command", bound=Callable[..., Any])

_META = "tessera."


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    context.meta[f"{_META}{parameter.name}"] = value


def _address(name: str, default: str, variable: str) -> Callable[[Command], Command]:
    return click.option(
        f"--{name}",
        metavar="ADDRESS",
        default=default,
        show_default=True,
        envvar=variable,
        show_envvar=True,
        expose_value=False,
        callback=_keep,
        help=f"Where the {name} listens.",
    )


def connection_options(command: Command) -> Command:
    """Give a command an option for each service, --deadline and --json; `connect` and `wants_json` read them."""
    options = (
        _address("gallery", DEFAULT_GALLERY, "TESSERA_GALLERY"),
        _address("ingest", DEFAULT_INGEST, "TESSERA_INGEST"),
        _address("encoder", DEFAULT_ENCODER, "TESSERA_ENCODER"),
        _address("gateway", DEFAULT_GATEWAY, "TESSERA_GATEWAY"),
        click.option(
            "--deadline",
            metavar="SECONDS",
            type=click.FloatRange(min=0, min_open=True),
            default=DEFAULT_DEADLINE_S,
            show_default=True,
            expose_value=False,
            callback=_keep,
            help="A call without an answer after so long fails.",
        ),
        json_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """Give a command --json; `wants_json` reads it."""
    option = click.option(
        "--json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_keep,
        help="Print JSON with stable keys.",
    )
    return option(command)


def collection_option(command: Command) -> Command:
    """Give a command --collection, as its parameter `collection_id`."""
    return click.option(
        "--collection",
        "collection_id",
        default="",
        metavar="ID",
        callback=_usual_collection,
        help='Which collection.  [default: "default"; of signatures "signatures"]',
    )(command)


def modality_option(command: Command) -> Command:
    """Give a command with --collection also --modality, which says which one is meant where that does not."""
    return click.option(
        "--modality",
        type=click.Choice([modality.value.lower() for modality in DEFAULT_COLLECTIONS]),
        default=Modality.FACE.value.lower(),
        show_default=True,
        is_eager=True,
        expose_value=False,
        callback=_keep,
        help="What the pictures show.",
    )(command)


def wanted_modality() -> Modality:
    """What --modality says of the command that runs."""
    return Modality[str(click.get_current_context().meta.get(f"{_META}modality", Modality.FACE.value)).upper()]


def _usual_collection(_: click.Context, __: click.Parameter, value: str) -> str:
    modality = wanted_modality()
    return value or ("" if modality is Modality.FACE else DEFAULT_COLLECTIONS[modality])


def wants_json() -> bool:
    """Whether the command that runs was called with --json."""
    return bool(click.get_current_context().meta.get(f"{_META}json", False))


def given_deadline_s() -> float | None:
    """What --deadline says; None when the command was called without it."""
    context = click.get_current_context()
    if context.get_parameter_source("deadline") is click.core.ParameterSource.DEFAULT:
        return None
    return float(context.meta[f"{_META}deadline"])


@contextmanager
def connect() -> Iterator[Tessera]:
    """A connection to the addresses that the command was called with.

    Raises:
        Failure: a call failed; told with what to do next.
    """
    meta = click.get_current_context().meta
    with (
        Tessera(
            meta[f"{_META}gallery"],
            ingest=meta[f"{_META}ingest"],
            encoder=meta[f"{_META}encoder"],
            gateway=meta[f"{_META}gateway"],
            deadline_s=meta[f"{_META}deadline"],
        ) as tessera,
        _told_in_words(),
    ):
        yield tessera


@contextmanager
def connect_files() -> Iterator[CollectionFiles]:
    """A connection to the gallery that the command was called with, for calls that take as long as they take.

    Raises:
        Failure: a call failed; told with what to do next.
    """
    with CollectionFiles(click.get_current_context().meta[f"{_META}gallery"]) as files, _told_in_words():
        yield files


@contextmanager
def _told_in_words() -> Iterator[None]:
    try:
        yield
    except TesseraCallError as error:
        raise failure_of(error) from None
    except InvalidInputError as error:
        raise Failure(str(error), field=error.field, value=str(error.value), allowed=error.allowed) from None
