"""`reid`: an encoder of people on a standard set of re-identification, in the words of the papers."""

from __future__ import annotations

import json
from pathlib import Path

import click

from siamese_lab.commands.options import chosen_device, data_option, threads_option
from siamese_lab.persons.encoders import GENERIC, open_encoder, person_encoders
from siamese_lab.persons.measuring import Measured, measure
from siamese_lab.persons.protocols import Protocol, read_set
from siamese_lab.training.checkpoint import write_whole
from tessera.domain.errors import InvalidInputError
from tessera.domain.ranking import Ranking


@click.command("reid")
@click.argument("protocol", type=click.Choice([one.value for one in Protocol]))
@data_option
@click.option("--encoder", default=None, help=f"An encoder of people, or {GENERIC}: a backbone that saw no people.")
@click.option("--rerank", is_flag=True, help="Measure k-reciprocal re-ranking too; it is stated apart.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures there.")
@click.option("--bars-kept", is_flag=True, help="Of con-reid: leave the black bars, which are cut off otherwise.")
@threads_option
def reid(
    *,
    protocol: str,
    data: Path,
    encoder: str | None,
    rerank: bool,
    json_path: Path | None,
    bars_kept: bool,
    threads: int | None,
) -> None:
    """Judge an encoder on the set in --data: rank-k, mAP and mINP of PROTOCOL, with nothing fitted to the set.

    \b
    tessera lab reid market-1501 --data Market-1501-v15.09.15
    tessera lab reid msmt17 --data MSMT17_V1 --rerank --json msmt17.json
    """
    chosen_device("cpu", threads)
    chosen = encoder or _only_encoder()
    one, opened = read_set(Protocol(protocol), data), open_encoder(chosen)
    measured = measure(one, opened.embed, opened.name, opened.learned_on, reranked=rerank, bars_kept=bars_kept)
    for line in _told(measured):
        click.echo(line)
    if json_path is not None:
        write_whole(json_path, (json.dumps(measured.as_json(), indent=1) + "\n").encode())
        click.echo(json_path)


def _only_encoder() -> str:
    names = person_encoders()
    if not names:
        raise InvalidInputError("--encoder", None, f"the name of an encoder of people, or {GENERIC}: none ships yet")
    return names[-1]


def _told(measured: Measured) -> list[str]:
    domain = "cross-domain" if measured.is_cross_domain else "other people of the same set"
    removed = "removed" if measured.same_camera_removed else "kept: this set's camera ids carry no information"
    found = measured.ranking
    lines = [
        f"{measured.protocol}: {found.probes} probes in a gallery of {measured.gallery}",
        f"encoder {measured.encoder}, trained on {measured.learned_on}: {domain}",
        f"mates by the probe's own camera are {removed}",
        f"{'':<14}{_numbers(found)}",
    ]
    if measured.reranked is not None:
        lines.append(f"{'re-ranked':<14}{_numbers(measured.reranked)}")
    if found.probes_without_mate:
        lines.append(f"{found.probes_without_mate} probes have no mate in the gallery and are in no number")
    return lines


def _numbers(found: Ranking) -> str:
    ranks = "  ".join(f"rank-{k} {rate:.4f}" for k, rate in found.rank)
    return f"{ranks}  mAP {found.mean_ap:.4f}  mINP {found.mean_inp:.4f}"
