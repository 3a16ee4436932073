"""The same networks behind LitServe and mosec, in turn with ours: images a second with the same number of calls.

Each peer runs twice: the way its documentation shows, with plain float32 modules and its own batching; and at the best
that a small sweep over processes, threads and batch sizes finds, with our allocator settings and, in workers of one
thread, our compiled networks. Exactly one server is up at any time: workers of the peers poll while they are idle.
Their clients are raw HTTP connections, cheaper than any library. Only the pace is compared: neither has deadlines by
class, credits or drain.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.encoder.arithmetic import median_ratio
from benchmarks.encoder.orders import OK, Closed, Http, Tally
from benchmarks.encoder.peers.setup import READY_DIR, PeerSetup
from benchmarks.encoder.pictures import FACES_IN_720P, PICTURES_720P
from benchmarks.encoder.plan import PREFIX, Plan, Story
from benchmarks.encoder.race import Entrant, race
from benchmarks.encoder.worker import Load
from benchmarks.figures import ROOT
from benchmarks.process_group import server_group
from benchmarks.services import service
from tessera.chassis.ports import free_port

PYTHON = ROOT / "build" / "peers" / "bin" / "python"
CALLS = 32
START_LIMIT_S = 240.0
OURS = "Tessera"
DOCUMENTED, TUNED = "as documented", "tuned"


@dataclass(frozen=True, slots=True)
class Peer:
    """One of the other servers."""

    name: str
    module: str
    arguments: tuple[str, ...]
    """Before the port."""
    path: str
    form_field: str
    bar: float
    """Ours must do at least so many times its images a second."""
    plain: PeerSetup
    """As its documentation shows."""


LITSERVE = Peer(
    "LitServe",
    "benchmarks.encoder.peers.litserve_server",
    (),
    "/predict",
    "request",
    2.0,
    PeerSetup(batch=8, wait_ms=50),
)
MOSEC = Peer(
    "mosec",
    "benchmarks.encoder.peers.mosec_server",
    # Its own limit for a request is 3 s, which so many calls at a time would pass on a slow machine.
    ("--timeout", "60000", "--log-level", "warning", "--port"),
    "/inference",
    "",
    1.0,
    PeerSetup(batch=4, wait_ms=10),
)


def sweep(cores: int) -> list[PeerSetup]:
    """What is tried for the best: a process for each core with small and larger batches, and one with all cores."""
    tried = ((cores, 1, 4), (cores, 1, 8), (1, cores, 8))
    return [PeerSetup(workers, batch, 5, threads, tuned=True) for workers, threads, batch in tried]


def peers(plan: Plan) -> Story:
    """Sweep, then measure in turn."""
    if not PYTHON.is_file():
        raise SystemExit(f"{PYTHON.relative_to(ROOT)} is missing: run this through `make bench-encoder`")
    setups: dict[tuple[Peer, str], PeerSetup] = {}
    for peer in (LITSERVE, MOSEC):
        setups |= {(peer, DOCUMENTED): peer.plain, (peer, TUNED): _best(plan, peer)}
    seconds, warm_s = plan.seconds(10, 4), plan.seconds(2, 1)
    ours = Entrant(OURS, partial(_serving_ours, plan), Closed(CALLS, seconds, warm_s, "STREAM"))
    theirs = [
        Entrant(f"{peer.name} {variant}", partial(serving, peer, setup), _order(peer, seconds, warm_s))
        for (peer, variant), setup in setups.items()
    ]
    story = Story()
    _tell(story, race([ours, *theirs], plan.count(3, 1), _pace), setups)
    return story


def _tell(story: Story, paces: dict[str, list[float]], setups: dict[tuple[Peer, str], PeerSetup]) -> None:
    story.add(f"peers: {OURS}, {CALLS} calls under way", float(np.median(paces[OURS])), "images/s")
    for (peer, variant), setup in setups.items():
        theirs = paces[f"{peer.name} {variant}"]
        story.add(f"peers: {peer.name} {variant} ({setup})", float(np.median(theirs)), "images/s")
        ratio = median_ratio(paces[OURS], theirs)
        # The bar is on the same modules as documented; against our own networks in their hands it is reported.
        bar = f"at least {peer.bar:g}" if variant == DOCUMENTED else ""
        holds = ratio >= peer.bar if bar else None
        story.add(f"peers: {OURS} over {peer.name} {variant}", ratio, "ratio", bar, holds)
    story.note(
        "peers: 'as documented' is the same float32 modules in eager mode, with the peer's own batching and one "
        "worker; 'tuned' is the best of a sweep over workers, threads and batch sizes, with our allocator settings "
        "and, in workers of one thread, our compiled networks."
    )


def _best(plan: Plan, peer: Peer) -> PeerSetup:
    """The setup of the sweep that does most."""
    setups = {str(setup): setup for setup in sweep(len(os.sched_getaffinity(0)))[:: plan.count(1, 2)]}
    order = _order(peer, plan.seconds(6, 3), plan.seconds(2, 1))
    tried = [Entrant(name, partial(serving, peer, setup), order) for name, setup in setups.items()]
    paces = race(tried, 1, _pace)
    return setups[max(paces, key=lambda name: paces[name])]


def _order(peer: Peer, seconds: float, warm_s: float) -> Http:
    return Http(peer.path, CALLS, seconds, warm_s, peer.form_field)


def _pace(entrant: Entrant, address: str) -> float:
    """Images a second of a server that has just been started."""
    with Load(address) as load:
        _wait_warm(entrant, load)
        return _checked(entrant.name, load.ask(entrant.order))


def _wait_warm(entrant: Entrant, load: Load) -> None:
    """Ask until every call of a second is answered."""
    few = replace(entrant.order, concurrency=4, seconds=1.0, warm_s=0.0)
    until_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until_s:
        if set(load.ask(few).counts) == {OK}:
            return
        time.sleep(0.5)
    raise RuntimeError(f"{entrant.name} does not answer")


def _checked(name: str, tally: Tally) -> float:
    """Images a second.

    Raises:
        RuntimeError: a call failed, or faces are missing: five pictures have seven, and a run may end anywhere in them.
    """
    expected = tally.count() * FACES_IN_720P / PICTURES_720P
    if set(tally.counts) - {OK} or abs(tally.faces - expected) > 2 + 0.1 * expected:
        raise RuntimeError(f"{name} answered {tally.counts} with {tally.faces} faces")
    return tally.per_s()


@contextmanager
def _serving_ours(plan: Plan) -> Iterator[str]:
    """Run our service as the peers are run, until the block ends.

    Yields:
        Its address.
    """
    with service("encoder_svc", PREFIX, plan.settings()) as encoder:
        yield encoder.address


@contextmanager
def serving(peer: Peer, setup: PeerSetup) -> Iterator[str]:
    """Run a peer's server until the block ends.

    Yields:
        Its address, once each of its workers has loaded its networks.
    """
    port = free_port()
    command = [str(PYTHON), "-m", peer.module, *peer.arguments, str(port)]
    # What a helper that is killed would leave among temporary files goes with their folder.
    with tempfile.TemporaryDirectory() as ready, tempfile.TemporaryDirectory() as scratch:
        ours = {READY_DIR: ready, "TMPDIR": scratch, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        all_ready = partial(_answers, port, Path(ready), setup.workers)
        with server_group(peer.name, command, {**setup.environ, **ours}, all_ready):
            yield f"127.0.0.1:{port}"


def _answers(port: int, folder: Path, workers: int, process: subprocess.Popen[bytes]) -> bool:
    """Wait for all workers: a port answers with the first, and the others would load while the first is measured."""
    until_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                if len(list(folder.iterdir())) >= workers:
                    return True
        except OSError:
            pass
        time.sleep(0.1)
    return False
