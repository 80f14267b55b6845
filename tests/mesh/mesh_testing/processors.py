"""An external processor for tests (`envoy.service.ext_proc.v3`): it remembers what it saw and answers as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from envoy.service.ext_proc.v3 import external_processor_pb2 as proc

from mesh_testing.backends import free_port
from mesh_testing.objects import configuration, endpoint_slice, pod, service

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
Answer = Callable[[str, Any], proc.ProcessingResponse]


def unchanged(part: str, _asked: Any) -> proc.ProcessingResponse:
    response = proc.ProcessingResponse()
    getattr(response, part).SetInParent()
    return response


def changed(
    part: str, headers: dict[str, str] | None = None, remove: tuple[str, ...] = (), body: bytes | None = None
) -> proc.ProcessingResponse:
    response = proc.ProcessingResponse()
    common = getattr(response, part).response
    for name, value in (headers or {}).items():
        option = common.header_mutation.set_headers.add(append_action="OVERWRITE_IF_EXISTS_OR_ADD")
        option.header.key, option.header.raw_value = name, value.encode()
    common.header_mutation.remove_headers.extend(remove)
    if body is not None:
        common.body_mutation.body = body
    return response


def headers_of(asked: Any) -> dict[str, str]:
    return {one.key: one.raw_value.decode() for one in asked.headers.headers}


class Processor:
    """`answer` is called with the name of a part and what the proxy says of it."""

    def __init__(self) -> None:
        self.address, self.port = "127.0.0.8", free_port()
        self.seen: list[tuple[str, Any]] = []
        self.answer: Answer = unchanged
        self.delay = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Processor"]:
        server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            self._process,
            request_deserializer=proc.ProcessingRequest.FromString,
            response_serializer=proc.ProcessingResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"Process": handler}),)
        )
        server.add_insecure_port(f"{self.address}:{self.port}")
        await server.start()
        try:
            yield self
        finally:
            await server.stop(grace=0)

    async def _process(self, requests: Any, _context: Any) -> AsyncIterator[proc.ProcessingResponse]:
        async for request in requests:
            part = request.WhichOneof("request")
            self.seen.append((part, getattr(request, part)))
            await asyncio.sleep(self.delay)
            yield self.answer(part, getattr(request, part))

    def facts(self, timeout: str = "5s", failure_mode: str = "Deny", **spec: Any) -> list[dict[str, Any]]:
        """A service for it, and an ExternalProcessor of the gateway."""
        at = {
            "service": "processor.default.svc.cluster.local",
            "port": 9001,
            "timeout": timeout,
            "failureMode": failure_mode,
        }
        told = {"selector": {"matchLabels": {"istio": "ingressgateway"}}, "service": at, **spec}
        return [
            service("processor", address="10.96.0.52", grpc=9001),
            endpoint_slice("processor", [self.address], grpc=self.port),
            pod("processor-1", self.address, host_network=True, app="processor"),
            configuration("ExternalProcessor", "edge", told),
        ]
