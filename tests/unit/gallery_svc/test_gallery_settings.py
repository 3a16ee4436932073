"""The gallery's settings say which field is wrong and what it allows."""

from __future__ import annotations

import pytest

from gallery_svc.settings import PREFIX, DurabilityWord, GallerySettings
from tessera.chassis.settings import load_settings, redacted
from tessera.domain.errors import InvalidInputError

KEYS = {PREFIX + "KEYS": "/etc/tessera/kek"}


def test_defaults_are_those_of_the_readme() -> None:
    """Port 7002, metrics 9102, the encoder and the store beside it, and the durability that a gallery needs."""
    settings = load_settings(GallerySettings, PREFIX, KEYS)
    assert (settings.port, settings.metrics_port, settings.encoder) == (7002, 9102, "127.0.0.1:7001")
    assert settings.store == "redis://127.0.0.1:7379/0"
    assert (settings.durability, settings.replicas_to_wait, settings.shards) == (DurabilityWord.ALWAYS, 0, 1)


@pytest.mark.parametrize("keys", ["", "ephemeral"])
def test_a_store_that_lasts_needs_keys_that_last(keys: str) -> None:
    """The error names the setting and the command that makes a key; the store in memory needs none."""
    with pytest.raises(InvalidInputError, match="tessera keys new") as refused:
        load_settings(GallerySettings, PREFIX, {PREFIX + "KEYS": keys})
    assert refused.value.field == PREFIX + "KEYS"
    assert load_settings(GallerySettings, PREFIX, {PREFIX + "KEYS": keys, PREFIX + "STORE": "memory"}).keys == keys


@pytest.mark.parametrize("store", ["sentinel://a:26379,b:26379/main/0", "cluster://a:7000,b:7000", "unix:///run/x"])
def test_several_servers_may_be_one_store(store: str) -> None:
    """A primary that Sentinels name, and a cluster."""
    assert load_settings(GallerySettings, PREFIX, {**KEYS, PREFIX + "STORE": store}).store == store


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("ENCODER", "nowhere"),
        ("STORE", "postgres://x"),
        ("HEARTBEAT_S", "11"),
        ("EVENTS_KEPT", "0"),
        ("TRACKLET_IDLE_S", "0"),
        ("LOG_LEVEL", "loud"),
        ("LOAD_PROCESSES", "-2"),
        ("DURABILITY", "never"),
        ("REPLICAS_TO_WAIT", "-1"),
        ("REPLICA_TIMEOUT_S", "0"),
        ("SHARDS", "65"),
        ("SHARDS", "0"),
        ("MIGRATE", "perhaps"),
        ("MAX_QUERIES", "0"),
        ("MAX_POSITION_WAIT_S", "0"),
        ("HOLDS", "8/8"),
        ("PEERS", "127.0.0.1:7012"),
        ("SHARD_PORT", "70000"),
        ("INDEX", "fast"),
        ("MILVUS_INDEX", "IVF"),
    ],
)
def test_a_wrong_value_names_its_variable(name: str, value: str) -> None:
    """The error carries the variable's whole name."""
    with pytest.raises(InvalidInputError) as refused:
        load_settings(GallerySettings, PREFIX, {**KEYS, PREFIX + name: value})
    assert refused.value.field == PREFIX + name


def test_a_gallery_of_a_part_names_its_shards_and_its_peers() -> None:
    """Each peer is an address."""
    more = {PREFIX + "HOLDS": "0-7/16", PREFIX + "PEERS": "10.0.0.2:7012, 10.0.0.3:7012"}
    assert load_settings(GallerySettings, PREFIX, KEYS | more).peer_addresses == ("10.0.0.2:7012", "10.0.0.3:7012")
    with pytest.raises(InvalidInputError) as refused:
        load_settings(GallerySettings, PREFIX, KEYS | more | {PREFIX + "PEERS": "somewhere"})
    assert refused.value.field == PREFIX + "PEERS"


def test_an_engine_needs_its_address_and_keeps_its_token_to_itself() -> None:
    """What is wrong is named, without credentials; with an engine a gallery holds all shards."""
    engine = {PREFIX + "INDEX": "milvus", PREFIX + "MILVUS_TOKEN": "root:secret"}
    right = {PREFIX + "MILVUS_URI": "https://milvus:19530"}
    for wrong, field in (
        ({PREFIX + "MILVUS_URI": "ftp://root:secret@milvus"}, "MILVUS_URI"),
        (right | {PREFIX + "HOLDS": "0/2"}, "HOLDS"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            load_settings(GallerySettings, PREFIX, KEYS | engine | wrong)
        assert refused.value.field == PREFIX + field
        assert "secret" not in str(refused.value)
    settings = load_settings(GallerySettings, PREFIX, KEYS | engine | right)
    assert "secret" not in str(redacted(settings)) + repr(settings)
