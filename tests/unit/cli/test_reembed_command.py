"""`tessera reembed` against a gallery that a test writes down: what it asks for, shows, and ends with."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from tessera.chassis.status import rich_status, status_of
from tessera.cli.__main__ import main
from tessera.client.reembedding import CollectionMoves, ReembedStep
from tessera.domain.errors import PreconditionError
from tessera.v1 import audit_pb2, gallery_pb2_grpc

MODEL = "face-next@0123456789ab"


@dataclass(slots=True)
class Gallery(gallery_pb2_grpc.GalleryServiceServicer):
    """Answers steps as it is told to."""

    answers: list[audit_pb2.ReembedResponse | Exception] = field(default_factory=list)
    requests: list[audit_pb2.ReembedRequest] = field(default_factory=list)
    stays: bool = False
    left: threading.Event = field(default_factory=threading.Event)

    def Reembed(self, request: Any, context: Any) -> Iterator[audit_pb2.ReembedResponse]:
        """One step."""
        self.requests.append(request)
        context.add_callback(self.left.set)
        for answer in self.answers:
            if isinstance(answer, Exception):
                context.abort_with_status(rich_status(status_of(answer)))
            else:
                yield answer
        if self.stays:
            self.left.wait(10)


@pytest.fixture
def gallery() -> Gallery:
    """What answers."""
    return Gallery()


@pytest.fixture
def address(gallery: Gallery) -> Iterator[str]:
    """Where it listens."""
    server = grpc.server(ThreadPoolExecutor(2))
    gallery_pb2_grpc.add_GalleryServiceServicer_to_server(gallery, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture
def run(address: str) -> Callable[..., int]:
    """Runs one step of the move of "staff"; gives its exit code."""
    return lambda step, *options: main(
        ["reembed", "staff", "--to", MODEL, "--step", step, "--gallery", address, *options]
    )


def told(done: int, total: int, failed: int = 0) -> audit_pb2.ReembedResponse:
    """How far it is."""
    return audit_pb2.ReembedResponse(
        templates_done=done, templates_total=total, templates_failed=failed, model_id=MODEL
    )


def test_a_shadow_says_what_is_there_what_is_not_and_what_comes_next(
    run: Callable[..., int], gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last message counts."""
    gallery.answers = [told(1, 1200), told(1198, 1200, 2)]
    assert run("shadow") == 0
    out = capsys.readouterr().out
    assert f"1,198 of 1,200 templates of staff are there for {MODEL}." in out
    assert "2 could not be embedded" in out
    assert f"Next: tessera reembed staff --to {MODEL} --step compare" in out
    request = gallery.requests[0]
    assert (request.collection_id, request.target_model_id, request.step) == (
        "staff",
        MODEL,
        audit_pb2.REEMBED_STEP_SHADOW,
    )
    assert request.request_id
    assert not request.accept_loss


def test_a_comparison_is_told_in_shares(
    run: Callable[..., int], gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no number is told in words, and as null in JSON."""
    compared = audit_pb2.EpochComparison(subjects=40, rank1_agreement=math.nan, decisions_changed=0.0125)
    gallery.answers = [told(5, 10), audit_pb2.ReembedResponse(comparison=compared)]
    assert run("compare", "--subjects", "40", "--request-id", "draw-1") == 0
    out = capsys.readouterr().out
    assert "not known: none of them has two templates" in out
    assert "1.25 %" in out
    assert (gallery.requests[0].compare_subjects, gallery.requests[0].request_id) == (40, "draw-1")
    assert run("compare", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["comparison"] == {"subjects": 40, "rank1_agreement": None, "decisions_changed": 0.0125}


def test_a_refusal_says_what_to_do_now(
    run: Callable[..., int], gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, the reason, and the next step."""
    gallery.answers = [PreconditionError("TEMPLATES_MISSING", "accept_loss", "false", "true, to go on without 2 of 9")]
    assert run("cut-over", "--json") == 3
    error = json.loads(capsys.readouterr().err)["error"]
    assert (error["reason"], error["field"]) == ("TEMPLATES_MISSING", "accept_loss")
    assert "--accept-loss" in error["next"]


def test_a_cut_names_the_way_back(
    run: Callable[..., int], gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the step that makes it final; a loss is sent only when it is accepted."""
    gallery.answers = [told(9, 9)]
    assert run("cut-over", "--accept-loss") == 0
    out = capsys.readouterr().out
    assert "--step roll-back" in out
    assert "--step discard" in out
    assert gallery.requests[0].accept_loss


def test_a_discard_asks_first(
    run: Callable[..., int], gallery: Gallery, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an answer nothing is sent; --yes does not ask."""
    gallery.answers = [told(9, 9)]
    monkeypatch.setattr("click.confirm", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run("discard") == 130
    assert not gallery.requests
    assert run("discard", "--yes") == 0
    assert f"staff has the templates of {MODEL} alone" in capsys.readouterr().out


def test_who_leaves_the_iteration_ends_the_call(address: str, gallery: Gallery) -> None:
    """The gallery notices, so that the step does not go on for nobody."""
    gallery.answers, gallery.stays = [told(1, 9)], True
    with CollectionMoves(address) as moves:
        step = moves.step("staff", MODEL, ReembedStep.SHADOW)
        assert next(step).done == 1
        step.close()
        assert gallery.left.wait(10)


def test_a_step_that_takes_longer_than_its_deadline_ends(
    run: Callable[..., int], gallery: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 4: the service did not answer in time."""
    gallery.stays = True
    assert run("shadow", "--deadline", "0.2", "--json") == 4
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "DEADLINE_EXCEEDED"


def test_a_gallery_that_is_away_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 4, and where it was looked for."""
    assert main(["reembed", "staff", "--to", MODEL, "--step", "shadow", "--gallery", "127.0.0.1:1", "--json"]) == 4
    assert "127.0.0.1:1" in json.loads(capsys.readouterr().err)["error"]["message"]
