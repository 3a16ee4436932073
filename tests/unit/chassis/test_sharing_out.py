"""Calls to several servers: in turn, past those that say they take no work, and past one whose calls fail."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import grpc
import pytest
from prometheus_client import CollectorRegistry

from tessera.chassis.channel import open_channel
from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.server import Server, ServerSettings
from tessera.domain import errors as e
from tessera.v1 import encoder_pb2 as pb
from tessera.v1 import encoder_pb2_grpc as rpc
from tests.eventually import eventually

SERVICE = pb.DESCRIPTOR.services_by_name["EncoderService"]


class Servicer(rpc.EncoderServiceServicer):
    """Says its number, or fails."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_sick = False

    async def Encode(self, request: pb.EncodeRequest, context: object) -> pb.EncodeResponse:
        if self.is_sick:
            raise e.NotFoundError("encoder", "sick")
        return pb.EncodeResponse(model_id=str(self.number))


@dataclass
class Farm:
    """Three servers and a channel to all."""

    servers: list[Server]
    servicers: list[Servicer]
    stub: rpc.EncoderServiceAsyncStub

    async def answers(self, count: int = 30) -> Counter[str]:
        """Who answered, and how many calls failed."""
        told: Counter[str] = Counter()
        for _ in range(count):
            try:
                told[(await self.stub.Encode(pb.EncodeRequest(), timeout=20)).model_id] += 1
            except grpc.aio.AioRpcError as error:
                told[error.code().name] += 1
        return told

    async def answer_alone(self, *numbers: int) -> bool:
        """Whether these answer, each of them, and nobody else."""
        return set(await self.answers()) == {str(number) for number in numbers}


@asynccontextmanager
async def _listening(servicer: Servicer) -> AsyncIterator[Server]:
    server = Server(
        ServerSettings(drain_s=30.0),
        ServiceMetrics(CollectorRegistry(), "test"),
        [SERVICE],
        lambda at: rpc.add_EncoderServiceServicer_to_server(servicer, at),
    )
    await server.start()
    await server.set_ready(True)
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def farm() -> AsyncIterator[Farm]:
    """Three servers that are well."""
    servicers = [Servicer(number) for number in range(3)]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(_listening(servicer)) for servicer in servicers]
        address = ",".join(f"127.0.0.1:{server.port}" for server in servers)
        async with open_channel(address) as channel:
            farm = Farm(servers, servicers, rpc.EncoderServiceStub(channel))
            await eventually(lambda: farm.answer_alone(0, 1, 2))
            yield farm


async def test_calls_go_in_turn(farm: Farm) -> None:
    """Of 30 calls each of three servers has ten."""
    assert await farm.answers(30) == {"0": 10, "1": 10, "2": 10}


async def test_whoever_takes_no_work_gets_none(farm: Farm) -> None:
    """A server that says NOT_SERVING is left out without a failed call, and is back when it serves again."""
    await farm.servers[1].set_ready(False)
    await eventually(lambda: farm.answer_alone(0, 2))
    await farm.servers[1].set_ready(True)
    await eventually(lambda: farm.answer_alone(0, 1, 2))


async def test_a_server_that_ends_fails_no_call(farm: Farm) -> None:
    """While one of three stops, calls one after the other all succeed."""
    stopping = asyncio.create_task(farm.servers[0].stop())
    told = await farm.answers(300)
    await stopping
    assert set(told) <= {"0", "1", "2"}
    assert await farm.answer_alone(1, 2)


async def test_watching_clients_do_not_hold_up_a_drain(farm: Farm) -> None:
    """A server with a drain of 30 s and nothing but watchers of its health stops at once."""
    async with asyncio.timeout(15):
        await farm.servers[2].stop()


async def test_one_whose_calls_fail_is_left_out(farm: Farm) -> None:
    """A server that says it is well and fails each call gets none after a while, and the others all."""
    farm.servicers[0].is_sick = True
    await eventually(lambda: farm.answer_alone(1, 2))


async def test_one_that_recovers_is_asked_again(farm: Farm) -> None:
    """It was left out for some seconds, not for ever."""
    farm.servicers[0].is_sick = True
    await eventually(lambda: farm.answer_alone(1, 2))
    farm.servicers[0].is_sick = False
    await eventually(lambda: farm.answer_alone(0, 1, 2))


async def test_failures_everywhere_leave_somebody(farm: Farm) -> None:
    """When all fail, as by a caller's own fault, calls still reach servers and get their answer."""
    for servicer in farm.servicers:
        servicer.is_sick = True
    for _ in range(3):
        assert await farm.answers(60) == {"NOT_FOUND": 60}


@pytest.mark.parametrize("address", ["encoder:7001,encoder-2:7001", "10.0.0.1:7001,[::1]:7001", "10.0.0.1,10.0.0.2"])
def test_a_list_is_one_of_addresses(address: str) -> None:
    """A list of names, of two kinds of address or without ports is refused, with what is allowed."""
    with pytest.raises(e.InvalidInputError, match="dns:///HOST:PORT"):
        open_channel(address)
