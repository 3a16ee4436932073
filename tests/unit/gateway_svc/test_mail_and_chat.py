"""Mail, chat and push: through Apprise to a real receiver, and what a person reads there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from gateway_svc import texts
from gateway_svc.delivering import DeliveryError, DeliveryRefusedError
from gateway_svc.happenings import Happening, Kind
from gateway_svc.mail_and_chat import AppriseDeliverer
from gateway_svc.messages import Message
from gateway_svc.targets import Apprise
from tessera.chassis.ports import free_port
from tessera.chassis.settings import Secret
from tests.gateway_world import START, alert, running_receiver


def message(revision: int = 1, state: str = "OPEN", held_back: int = 0, **fields: Any) -> Message:
    happening = alert(revision=revision, state=state)
    facts = {
        **happening.facts,
        "title": "Strangers at night",
        "subjects": [{"subject_id": "s1", "display_name": "Ada"}],
    }
    happening = Happening(Kind.ALERT, "e1", revision, START, START, START + timedelta(seconds=60), "yard", facts)
    return Message("a1/1/mail", "mail", happening, START, held_back=held_back, **fields)


async def test_a_message_reaches_the_service() -> None:
    """With its title and its text; an answer that is no success is a failure that may pass."""
    async with running_receiver() as receiver:
        deliverer = AppriseDeliverer(Apprise(Secret(f"json://127.0.0.1:{receiver.port}/chat")))
        await deliverer.deliver(message())
        told = receiver.requests[0].content
        assert told["title"] == "Tessera: Strangers at night at yard [a1]"
        assert told["message"].splitlines()[:3] == ["a stranger", "WARNING, open", "Who: Ada"]
        receiver.answers.append(500)
        with pytest.raises(DeliveryError, match="json did not take it"):
            await deliverer.deliver(message())
        await deliverer.close()


async def test_a_service_that_nobody_knows_is_refused_without_its_credentials() -> None:
    """The error names the kind of URL and nothing of what follows."""
    deliverer = AppriseDeliverer(Apprise(Secret("pigeon://ada:hunter2@roof")))
    with pytest.raises(DeliveryRefusedError, match="pigeon") as error:
        await deliverer.deliver(message())
    assert "hunter2" not in str(error.value)
    await deliverer.close()


async def test_a_service_that_is_away_is_a_failure_that_passes() -> None:
    """As any other target's."""
    deliverer = AppriseDeliverer(Apprise(Secret(f"json://127.0.0.1:{free_port()}/chat")))
    with pytest.raises(DeliveryError):
        await deliverer.deliver(message())
    await deliverer.close()


def test_one_incident_keeps_one_subject() -> None:
    """Mail and chat keep together what has one; what is no news says so before anything else."""
    assert texts.title(message()) == texts.title(message(2, "RESOLVED"))
    assert texts.title(message(late=True, replayed=True)).startswith("[REPLAYED] [LATE] Tessera: ")
    assert "Do nothing because of it" in texts.body(message(late=True))
    assert "3 other notifications were held back" in texts.body(message(held_back=3))
