"""Reflection tells of every service and method, so that grpcurl works with nothing but an address."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client import CollectorRegistry

from camera_ingest.servicer import SERVICE as CAMERA_SERVICE
from encoder_svc.__main__ import SERVICE as ENCODER_SERVICE
from gallery_svc.service import SERVICES as GALLERY_SERVICES
from gateway_svc.servicer import SERVICE as NOTIFICATION_SERVICE
from tessera.chassis.metrics import ServiceMetrics
from tessera.chassis.server import Server, ServerSettings

ALL = [ENCODER_SERVICE, CAMERA_SERVICE, NOTIFICATION_SERVICE, *GALLERY_SERVICES]


@pytest.mark.parametrize("service", ALL, ids=lambda service: service.name)
async def test_a_stranger_learns_every_method(service: ServiceDescriptor) -> None:
    """With the address alone a client finds the service, its methods and their messages."""
    server = Server(ServerSettings(), ServiceMetrics(CollectorRegistry(), "test"), ALL, lambda _: None)
    await server.start()
    try:
        methods = await asyncio.to_thread(learn_methods, server.port, service.full_name)
    finally:
        await server.stop()
    assert methods == {method.name: method.input_type.full_name for method in service.methods}


def learn_methods(port: int, name: str) -> dict[str, str]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        learnt = DescriptorPool(ProtoReflectionDescriptorDatabase(channel)).FindServiceByName(name)
        return {method.name: method.input_type.full_name for method in learnt.methods}
