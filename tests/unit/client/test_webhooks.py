"""The receiver library: what is genuine, of now and here for the first time passes; everything else says why not."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from gateway_svc.messages import Message, payload
from tessera.chassis.clock import ManualClock
from tessera.client.webhooks import Rejection, WebhookNotification, WebhookReceiver, WebhookRejected
from tessera.domain.errors import InvalidInputError
from tessera.trust.webhook_signature import signature
from tests.gateway_world import SECRET, START, alert

OTHER = "another-secret-of-the-same-length"


class Post:
    """A message as the gateway sends it, `age_s` after the receiver began."""

    def __init__(
        self, age_s: float = 1.0, secret: str = SECRET, nonce: str = "n1", change: str = "OPENED", **fields: Any
    ) -> None:
        sent = START + timedelta(seconds=age_s)
        message = Message("a1/1/door", "door", alert(at=sent, change=change), sent, **fields)
        self.body = json.dumps(payload(message)).encode()
        self.timestamp, self.nonce = f"{sent.timestamp():.3f}", nonce
        self.signature = signature(secret, self.timestamp, nonce, self.body)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "tessera-timestamp": self.timestamp,
            "TESSERA-NONCE": self.nonce,
            "Tessera-Signature": self.signature,
        }


def receiving(post: Post, receiver: WebhookReceiver) -> WebhookNotification:
    with receiver.receive(post.headers, post.body) as told:
        return told


def rejected(post: Post, receiver: WebhookReceiver) -> Rejection:
    with pytest.raises(WebhookRejected) as error, receiver.receive(post.headers, post.body):
        pass
    return error.value.reason


@pytest.fixture
def clock() -> ManualClock:
    """Two seconds after the receiver began."""
    return ManualClock(START)


@pytest.fixture
def receiver(clock: ManualClock) -> WebhookReceiver:
    """One that began at `START` and stands two seconds later."""
    made = WebhookReceiver(SECRET, clock=clock)
    clock.advance(2)
    return made


def test_a_genuine_message_may_be_acted_on(receiver: WebhookReceiver) -> None:
    """With all that it tells; header names come in any case."""
    told = receiving(Post(), receiver)
    assert told.may_act
    assert (told.key, told.thread, told.kind) == ("a1/1/door", "a1", "ALERT")
    assert told.alert["rule_id"] == "strangers"
    assert told.valid_until == START + timedelta(seconds=61)


@pytest.mark.parametrize("change", ["ACKNOWLEDGED", "RESOLVED", "REVISED", "WITHDRAWN", "ENDED", ""])
def test_what_became_of_an_alert_is_no_call(receiver: WebhookReceiver, change: str) -> None:
    """It is genuine and new, and no door opens because somebody acknowledged what opened it before."""
    told = receiving(Post(change=change), receiver)
    assert (told.may_act, told.duplicate, told.late) == (False, False, False)


def test_an_alert_that_goes_on_calls_again(receiver: WebhookReceiver) -> None:
    """Told again it may be acted on again, until it holds no more."""
    assert receiving(Post(change="REMINDED"), receiver).may_act


def test_an_altered_message_is_rejected(receiver: WebhookReceiver) -> None:
    """Whichever byte of body, timestamp, nonce or signature was changed."""
    for part in ("body", "timestamp", "nonce", "signature"):
        post = Post()
        value = getattr(post, part)
        setattr(post, part, value[:-1] + (b" " if part == "body" else "0" if value[-1] != "0" else "1"))
        assert rejected(post, receiver) is Rejection.ALTERED
    assert rejected(Post(secret=OTHER), receiver) is Rejection.ALTERED


@pytest.mark.parametrize("name", ["timestamp", "nonce", "signature"])
def test_an_unsigned_message_is_rejected(receiver: WebhookReceiver, name: str) -> None:
    """Each of the three headers is needed."""
    post = Post()
    headers = {key: value for key, value in post.headers.items() if name not in key.lower()}
    with pytest.raises(WebhookRejected) as error, receiver.receive(headers, post.body):
        pass
    assert (error.value.reason, error.value.status) == (Rejection.UNSIGNED, 401)


def test_a_replayed_message_is_rejected(receiver: WebhookReceiver, clock: ManualClock) -> None:
    """For as long as its timestamp passes, and after that because of its timestamp."""
    post = Post()
    receiving(post, receiver)
    assert rejected(post, receiver) is Rejection.REPLAYED
    clock.advance(58)
    assert rejected(post, receiver) is Rejection.REPLAYED
    clock.advance(10)
    assert rejected(post, receiver) is Rejection.STALE


def test_a_receiver_that_was_started_anew_takes_nothing_from_before(clock: ManualClock) -> None:
    """It cannot know what was here: a message that was overheard does not pass a restart."""
    clock.advance(30)
    assert rejected(Post(age_s=29.0), WebhookReceiver(SECRET, clock=clock)) is Rejection.STALE


def test_a_message_from_the_future_is_rejected(receiver: WebhookReceiver) -> None:
    """Beyond the window, whoever's clock is wrong."""
    assert rejected(Post(age_s=70.0), receiver) is Rejection.STALE


@pytest.mark.parametrize("field", ["late", "replayed"])
def test_a_late_event_is_rejected_unless_it_is_wanted(receiver: WebhookReceiver, field: str) -> None:
    """And never may be acted on."""
    assert rejected(Post(**{field: True}), receiver) is Rejection.LATE
    lenient = WebhookReceiver(SECRET, accept_late=True, clock=ManualClock(START))
    told = receiving(Post(nonce="n2", **{field: True}), lenient)
    assert not told.may_act


def test_an_event_that_ended_on_the_way_is_rejected(clock: ManualClock) -> None:
    """Its own `valid_until` decides on this machine's clock, whatever its sender believed."""
    receiver = WebhookReceiver(SECRET, window_s=600.0, clock=clock)
    clock.advance(62)
    assert rejected(Post(), receiver) is Rejection.LATE


def test_another_attempt_is_a_duplicate_once_it_was_handled(receiver: WebhookReceiver) -> None:
    """What a receiver failed at is not: it comes again, and is handled then."""
    with pytest.raises(LookupError), receiver.receive(Post(nonce="n1").headers, Post(nonce="n1").body):
        raise LookupError("the lock does not answer")
    assert receiving(Post(nonce="n2"), receiver).may_act
    again = receiving(Post(nonce="n3"), receiver)
    assert again.duplicate
    assert not again.may_act


def test_two_attempts_at_once_are_not_both_handled(receiver: WebhookReceiver) -> None:
    """The second is told to come again."""
    first, second = Post(nonce="n1"), Post(nonce="n2")
    with receiver.receive(first.headers, first.body):
        assert rejected(second, receiver) is Rejection.BUSY


def test_a_secret_can_be_changed_without_a_loss(clock: ManualClock) -> None:
    """The receiver takes both for a while, and so may the sender sign with both."""
    receiver = WebhookReceiver(OTHER, SECRET, clock=clock)
    assert receiving(Post(nonce="n1"), receiver).may_act
    post = Post(nonce="n2")
    post.signature = f"{signature(OTHER, post.timestamp, post.nonce, post.body)}, {post.signature}"
    assert receiving(post, WebhookReceiver(SECRET, clock=clock)).may_act


def test_what_is_signed_and_no_notification_is_malformed(receiver: WebhookReceiver) -> None:
    """It does nothing, and raises nothing else."""
    for number, body in enumerate((b"{}", b"[]", b"not JSON", b'{"key": "k"}')):
        post = Post(nonce=f"m{number}")
        post.body = body
        post.signature = signature(SECRET, post.timestamp, post.nonce, body)
        assert rejected(post, receiver) is Rejection.MALFORMED


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    """An empty variable is not a secret."""
    for secrets in ((), ("",), ("short",)):
        with pytest.raises(InvalidInputError, match="16 characters"):
            WebhookReceiver(*secrets)
