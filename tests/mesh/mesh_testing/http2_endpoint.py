"""An HTTP/2 program made of frames by hand, and a gateway in front of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hpack import Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame

from hauberk.mesh.registry import Registry
from mesh_testing.backends import GATEWAY, free_port
from mesh_testing.control_plane import control_plane
from mesh_testing.hauberk_proxy import hauberk_proxy
from mesh_testing.http2 import PREFACE, Caller
from mesh_testing.objects import configuration, endpoint_slice, service
from mesh_testing.running import Running

Behaviour = Callable[["Endpoint", "Connection", int, dict[str, str]], None]
"""What the program does when a request's headers are there: itself, the connection, the stream, the headers."""


class Connection(Caller):
    """One from the proxy. `requests` are the paths that came on it, by stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        super().__init__(reader, writer)
        self.number = number
        """From 0, in the order of their coming."""
        self.requests: dict[int, str] = {}
        self.answered_streams: set[int] = set()
        self._plain = Encoder()

    def answer(self, stream: int, status: str = "200") -> None:
        head = HeadersFrame(stream, self._plain.encode([(":status", status)]), flags=["END_HEADERS"])
        self.send(head, DataFrame(stream, b"done", flags=["END_STREAM"]))
        self.answered_streams.add(stream)


class Endpoint:
    """The program. `connections` are all that ever came."""

    def __init__(self, behaviour: Behaviour, settings: dict[int, int]) -> None:
        self.behaviour = behaviour
        self.connections: list[Connection] = []
        self.most_at_once = 0
        """Streams open at the same time on any connection."""
        self._settings = settings

    @property
    def requests(self) -> list[str]:
        """The paths of all requests, on whichever connection."""
        return sorted(path for one in self.connections for path in one.requests.values())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer, len(self.connections))
        self.connections.append(connection)
        assert await reader.readexactly(len(PREFACE)) == PREFACE
        connection.send(SettingsFrame(0, self._settings))
        connection.on_frame = lambda frame: self._took(connection, frame)
        try:
            await connection.read()
        finally:
            writer.close()

    def _took(self, connection: Connection, frame: Frame) -> None:
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            connection.send(SettingsFrame(0, flags=["ACK"]))
        if isinstance(frame, HeadersFrame):
            headers: dict[str, str] = frame.headers  # type: ignore[attr-defined]
            connection.requests[frame.stream_id] = headers[":path"]
            open_now = len(connection.requests) - len(connection.answered_streams)
            self.most_at_once = max(self.most_at_once, open_now)
            self.behaviour(self, connection, frame.stream_id, headers)


@asynccontextmanager
async def gateway_to(
    behaviour: Behaviour, folder: Path, settings: dict[int, int] | None = None, **route: object
) -> AsyncIterator[tuple[Endpoint, Running, int]]:
    """The program, the gateway's process and its port. `route` is what its one route says beside the destination."""
    endpoint = Endpoint(behaviour, settings or {})
    server = await asyncio.start_server(endpoint.serve, "127.0.0.5", 0)
    backend, port = server.sockets[0].getsockname()[1], free_port()
    listening = {"port": {"number": port, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    to = {"destination": {"host": "ledger", "port": {"number": backend}}}
    facts = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}},
        service("ledger", address="10.96.0.10", grpc=backend),
        endpoint_slice("ledger", ["127.0.0.5"], grpc=backend),
        configuration(
            "Gateway", "gateway", {"selector": {"istio": "ingressgateway"}, "servers": [listening]}
        ),
        configuration(
            "VirtualService",
            "ledger",
            {
                "hosts": ["*"],
                "gateways": ["gateway"],
                "http": [{"retries": {"attempts": 0}, "route": [to], **route}],
            },
        ),
    ]
    async with (
        server,
        control_plane(Registry().update(facts), folder) as plane,
        hauberk_proxy(GATEWAY, plane.path, folder) as running,
    ):
        await running.synced(plane.discovery)
        yield endpoint, running, port
