"""Authorizers for tests, over gRPC and over HTTP: they remember what they were asked, and answer as a test says.

python -m mesh_testing.authorizers ADDRESS:PORT FOLDER
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from envoy.service.auth.v3 import attribute_context_pb2, external_auth_pb2

from mesh_testing.backends import free_port
from mesh_testing.objects import configuration, endpoint_slice, pod, service

Attributes = attribute_context_pb2.AttributeContext
Answer = Callable[[Attributes], external_auth_pb2.CheckResponse]
SERVICE = "envoy.service.auth.v3.Authorization"


def allowed(**ok: Any) -> external_auth_pb2.CheckResponse:
    return external_auth_pb2.CheckResponse(status={"code": 0}, ok_response=ok)


def denied(code: int = 7, **response: Any) -> external_auth_pb2.CheckResponse:
    return external_auth_pb2.CheckResponse(status={"code": code}, denied_response=response)


class GrpcAuthorizer:
    """`answer` is called with what was asked; `delay` in seconds comes before."""

    def __init__(self, address: str = "127.0.0.5") -> None:
        self.address = address
        self.port = free_port()
        self.asked: list[Attributes] = []
        self.answer: Answer = lambda _attributes: allowed()
        self.delay = 0.0
        self.raw: bytes | None = None
        """Sent instead of an answer."""
        self._server: grpc.aio.Server | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator["GrpcAuthorizer"]:
        server = self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(
            self._check, request_deserializer=external_auth_pb2.CheckRequest.FromString
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Check": handler}),))
        server.add_insecure_port(f"{self.address}:{self.port}")
        await server.start()
        try:
            yield self
        finally:
            await server.stop(grace=0)

    async def stop(self) -> None:
        """Nobody listens there any more."""
        assert self._server is not None
        await self._server.stop(grace=0)

    async def _check(self, request: external_auth_pb2.CheckRequest, _context: Any) -> bytes:
        self.asked.append(request.attributes)
        await asyncio.sleep(self.delay)
        if self.raw is not None:
            return self.raw
        made: bytes = self.answer(request.attributes).SerializeToString()
        return made


class HttpAuthorizer:
    """`answer` is called with the request and its body."""

    def __init__(self, address: str = "127.0.0.6") -> None:
        self.address = address
        self.port = free_port()
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answer: Callable[[web.Request], web.Response] = lambda _request: web.Response()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["HttpAuthorizer"]:
        application = web.Application()
        application.router.add_route("*", "/{anything:.*}", self._check)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, self.address, self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _check(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append((request.method, request.path_qs, headers, await request.read()))
        return self.answer(request)


def facts(authorizer: GrpcAuthorizer | HttpAuthorizer, **told: Any) -> list[dict[str, Any]]:
    """A service for it, and a MeshConfig that names it `asker`."""
    grpc_port = isinstance(authorizer, GrpcAuthorizer)
    name, sort = ("grpc", "envoyExtAuthzGrpc") if grpc_port else ("http", "envoyExtAuthzHttp")
    spec = {"service": "asker.default.svc.cluster.local", "port": 9000, **told}
    return [
        service("asker", address="10.96.0.50", **{name: 9000}),
        endpoint_slice("asker", [authorizer.address], **{name: authorizer.port}),
        pod("asker-1", authorizer.address, host_network=True, app="asker"),
        configuration("MeshConfig", "default", {"extensionProviders": [{"name": "asker", sort: spec}]}),
    ]


async def main() -> None:
    """Writes what it is asked to `questions`; refuses `/shut`, and TCP connections while there is a file `shut`."""
    (address, _, port), folder = sys.argv[1].rpartition(":"), Path(sys.argv[2])
    told = (folder / "questions").open("a", buffering=1)

    def answer(asked: Attributes) -> external_auth_pb2.CheckResponse:
        path = asked.request.http.path
        question = {
            "source": asked.source.principal,
            "destination": asked.destination.principal,
            "port": asked.destination.address.socket_address.port_value,
            "path": path,
        }
        told.write(json.dumps(question) + "\n")
        shut = path == "/shut" if path else (folder / "shut").exists()
        return denied() if shut else allowed()

    authorizer = GrpcAuthorizer(address)
    authorizer.port = int(port)
    authorizer.answer = answer
    async with authorizer.running():
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
