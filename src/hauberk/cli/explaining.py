"""What the proxy of a pod would do with a call, asked of the proxy's own engine (`hauberk-proxy explain`).

It reads the configuration that the control plane intends for the pod by the decoder that every proxy has.
"""

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

import hauberk.mesh.snapshot  # noqa: F401  it registers the messages that typed configurations hold
from hauberk.binaries import BinaryNotFoundError, find
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER, ROUTE, SHORT_NAMES
from hauberk.model.kind import Object
from hauberk.store.http_client import HttpClient

_MESSAGES: dict[str, Any] = {
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
}
_PORTS = {"http": 80, "https": 443, "grpc": 80}
_PATIENCE = 30.0
"""Seconds that the engine may take; it needs some hundredths."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """`GET http://ledger.bank:8080/accounts`, as a program would make it."""

    method: str
    scheme: str
    host: str
    """Empty if the address has none."""
    port: int | None
    """None: none is told, and none follows from the scheme."""
    target: str
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def parse(method: str, address: str, headers: tuple[str, ...]) -> "Call":
        """Raises `CommandError` if it is no address, or a header has no colon."""
        if "://" not in address and not address.startswith("/"):
            address = f"http://{address}"
        parts = urlsplit(address)
        try:
            port = parts.port
        except ValueError as error:
            raise CommandError(f"URL {address}: {error}", "", ExitCode.USAGE) from error
        named = []
        for header in headers:
            name, colon, value = header.partition(":")
            if not colon or not name.strip():
                raise CommandError(f"header: expected NAME: VALUE, found {header!r}", "", ExitCode.USAGE)
            named.append((name.strip(), value.strip()))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = parts.hostname or ""
        return Call(
            method.upper(), parts.scheme, host, port or _PORTS.get(parts.scheme), target, tuple(named)
        )

    @property
    def is_http(self) -> bool:
        """Of `https` and `tcp` a proxy sees bytes alone."""
        return self.scheme in ("", "http", "grpc")

    def request(self, host: str) -> dict[str, Any] | None:
        """For the engine; `host` where the address has none."""
        if not self.is_http:
            return None
        given = {name.lower(): value for name, value in self.headers}
        port = "" if self.port in (None, 80) else f":{self.port}"
        return {
            "method": self.method,
            "target": self.target,
            "authority": given.get("host", f"{self.host or host}{port}"),
            "headers": [[name, value] for name, value in self.headers if name.lower() != "host"],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the engine is asked; its field of that name in `crates/proxy/src/explain.rs`."""

    inbound: bool
    source: str | None
    destinations: list[str]
    port: int
    principal: str | None
    server_name: str | None = None
    server_name_known: bool = True
    protocols: list[str] = field(default_factory=list)
    request: dict[str, Any] | None = None


async def explain(client: HttpClient, pod: Object, question: Question) -> Answer:
    """The answer of `pod`'s proxy, as it would be with what the control plane intends for it.

    Raises:
        CommandError: the engine is not installed, or refuses the configuration.
    """
    metadata = pod["metadata"]
    where = f"/hauberk/v1/snapshot/{quote(metadata['namespace'])}/{quote(metadata['name'])}"
    intended = await client.raw("GET", where)
    asked = {
        "resources": list(_encoded(intended)),
        "question": {name: getattr(question, name) for name in question.__slots__},
    }
    try:
        binary = find("hauberk-proxy")
    except BinaryNotFoundError as error:
        raise CommandError(str(error)) from error
    process = await asyncio.create_subprocess_exec(
        binary,
        "explain",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_PATIENCE):
        out, err = await process.communicate(json.dumps(asked).encode())
    if process.returncode:
        raise CommandError(err.decode(errors="replace").strip().removeprefix("hauberk-proxy: "))
    answer: Answer = json.loads(out)
    return answer


def _encoded(intended: dict[str, Any]) -> Iterator[dict[str, str]]:
    for type_url, message in _MESSAGES.items():
        for told in intended[SHORT_NAMES[type_url]]:
            resource = json_format.ParseDict(told, message())
            yield {
                "type_url": type_url,
                "name": getattr(resource, "name", "") or getattr(resource, "cluster_name", ""),
                "value": base64.b64encode(resource.SerializeToString(deterministic=True)).decode(),
            }
