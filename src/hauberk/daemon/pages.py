"""What the API has no object for: `/hauberk/v1/…`, read-only, under the API's own authorization."""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import any_pb2, json_format

from hauberk.mesh.ads import Discovery
from hauberk.mesh.proxy import NodeId, ProxyKind, proxy_of
from hauberk.mesh.serialization import CLUSTER, ENDPOINT, LISTENER, ROUTE, SHORT_NAMES
from hauberk.store.client import ApiError
from hauberk.store.request_info import parse_request
from hauberk.store.status import to_status
from hauberk.store.user import Authenticator, Authorizer

PREFIX = "/hauberk/v1/"
_MESSAGES: dict[str, Any] = {
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """Answers requests under the prefix; all others go on to the API."""

    def __init__(self, discovery: Discovery, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._discovery = discovery
        self._authenticator = authenticator
        self._authorizer = authorizer

    def middleware(self) -> Any:
        @web.middleware
        async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith(PREFIX):
                return await handler(request)
            try:
                self._authorize(request)
                return self._answer(request)
            except ApiError as error:
                return web.json_response(to_status(error), status=error.code)

        return serve

    def _authorize(self, request: web.Request) -> None:
        transport = request.transport
        tls = transport.get_extra_info("ssl_object") if transport else None
        certificate = tls.getpeercert() if tls else None
        user = self._authenticator.authenticate(certificate, request.headers.get("Authorization"))
        info = parse_request(request.method, request.path, request.query)
        decision = self._authorizer.authorize(user, info)
        if not decision.allowed:
            message = f'forbidden: User "{user.name}" cannot {info.verb} path "{request.path}"'
            raise ApiError(403, "Forbidden", f"{message}: {decision.reason}" if decision.reason else message)

    def _answer(self, request: web.Request) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            raise ApiError(405, "MethodNotAllowed", f"{request.path} can only be read: use GET")
        match request.path.removeprefix(PREFIX).strip("/").split("/"):
            case ["proxy-status"]:
                statuses = [status.to_json() for status in self._discovery.statuses()]
                refused = [asdict(one) for one in self._discovery.snapshot.refused]
                return web.json_response({"proxies": statuses, "refused": refused})
            case ["snapshot", namespace, name]:
                return web.json_response(self._snapshot(namespace, name))
        raise ApiError(404, "NotFound", f"{request.path}: expected proxy-status or snapshot/NAMESPACE/POD")

    def _snapshot(self, namespace: str, name: str) -> dict[str, Any]:
        snapshot = self._discovery.snapshot
        workload = snapshot.registry.workloads.get((namespace, name))
        if workload is None:
            raise ApiError(
                404, "NotFound", f"the mesh knows no pod {namespace}/{name}; has it an address yet?"
            )
        proxy = proxy_of(NodeId(ProxyKind.SIDECAR, workload.address, name, namespace), workload)
        resources = snapshot.resources(proxy)
        return {
            "proxy": proxy.id,
            **{
                SHORT_NAMES[type_url]: [_to_json(message, one.any) for one in resources.of(type_url).values()]
                for type_url, message in _MESSAGES.items()
            },
        }


def _to_json(message: Any, encoded: bytes) -> dict[str, Any]:
    decoded = message()
    decoded.ParseFromString(any_pb2.Any.FromString(encoded).value)
    return json_format.MessageToDict(decoded, preserving_proto_field_name=True)
