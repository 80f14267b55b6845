"""MeshConfig: the providers of the mesh, as far as they can be reached, and which of them are used by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hauberk.mesh.access_logs import AccessLogger, FileLog, HttpLogService, TcpLogService
from hauberk.mesh.clusters import outbound_name
from hauberk.mesh.registry import HAUBERK, Registry, ServicePort

ENVOY = "envoy"


@dataclass(frozen=True, slots=True)
class Collector:
    """The cluster of an OTLP collector."""

    cluster: str


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Who is asked by policies with the action CUSTOM. `told` is its setting, of gRPC or of HTTP."""

    name: str
    cluster: str
    host: str
    told: Mapping[str, Any]
    grpc: bool


Provider = AccessLogger | Collector


@dataclass(frozen=True, slots=True)
class MeshConfig:
    """Providers by name. One whose service or port is not there (or that has no
    address of its own) is left out: nothing is sent to it."""

    providers: Mapping[str, Provider]
    access_logging: tuple[str, ...]
    tracing: tuple[str, ...]
    authorizers: Mapping[str, Authorizer]
    """Those whose port speaks what they are to be asked in: HTTP/2 if it is gRPC."""
    hosts: frozenset[str]
    """Services that providers lead to: every proxy needs their clusters."""


def mesh_config(registry: Registry) -> MeshConfig:
    """The settings of the mesh; without an object of the kind, the access log of each proxy and no more."""
    found = next(
        (entry for entry in registry.of_kind(HAUBERK, "MeshConfig") if entry.name == "default"), None
    )
    spec: Mapping[str, Any] = found.spec if found else {}
    defaults = spec.get("defaultProviders") or {}
    logging = defaults.get("accessLogging")
    providers: dict[str, Provider] = {ENVOY: FileLog()}
    authorizers: dict[str, Authorizer] = {}
    hosts: set[str] = set()
    for one in (*registry.of_kind(HAUBERK, "RateLimit"), *registry.of_kind(HAUBERK, "ExternalProcessor")):
        service = one.spec.get("service")
        if service and (found_port := service_port(service, registry)):
            hosts.add(found_port[0])
    for told in spec.get("extensionProviders") or ():
        provider = _provider(told, registry, hosts)
        if provider is not None:
            providers[told["name"]] = provider
        authorizer = _authorizer(told, registry, hosts)
        if authorizer is not None:
            authorizers[told["name"]] = authorizer
    return MeshConfig(
        providers=providers,
        access_logging=(ENVOY,) if logging is None else tuple(logging),
        tracing=tuple(defaults.get("tracing") or ()),
        authorizers=authorizers,
        hosts=frozenset(hosts),
    )


def _provider(told: Mapping[str, Any], registry: Registry, hosts: set[str]) -> Provider | None:
    file = told.get("envoyFileAccessLog")
    if file is not None:
        layout = file.get("logFormat") or {}
        labels = tuple(sorted((layout.get("labels") or {}).items()))
        return FileLog(file.get("path") or FileLog().path, layout.get("text") or "", labels)
    for sort, make in (
        ("envoyHttpAls", lambda cluster, service: HttpLogService(cluster, _log_name(service, "http"))),
        ("envoyTcpAls", lambda cluster, service: TcpLogService(cluster, _log_name(service, "tcp"))),
        ("opentelemetry", lambda cluster, _service: Collector(cluster)),
    ):
        service = told.get(sort)
        if service is None:
            continue
        found = service_port(service, registry)
        if found is None:
            return None
        host, port = found
        hosts.add(host)
        made: Provider = make(outbound_name(host, port.number), service)
        return made
    return None


def _authorizer(told: Mapping[str, Any], registry: Registry, hosts: set[str]) -> Authorizer | None:
    for sort, grpc in (("envoyExtAuthzGrpc", True), ("envoyExtAuthzHttp", False)):
        service = told.get(sort)
        found = None if service is None else service_port(service, registry)
        if service is None or found is None:
            continue
        host, port = found
        if port.protocol.is_http2 if grpc else port.protocol.is_http:
            hosts.add(host)
            return Authorizer(told["name"], outbound_name(host, port.number), host, service, grpc)
    return None


def service_port(told: Mapping[str, Any] | None, registry: Registry) -> tuple[str, ServicePort] | None:
    """The host and port that a provider or another object names; None if they are not there.

    Istio also writes NAMESPACE/HOST; a host's name is enough here.
    """
    if told is None:
        return None
    host, number = str(told["service"]).rpartition("/")[2], int(told["port"])
    view = registry.view(host)
    if view is None or view.service.headless:
        return None
    port = view.service.port(number)
    return None if port is None else (host, port)


def _log_name(service: Mapping[str, Any], kind: str) -> str:
    return str(service.get("logName") or f"{kind}_envoy_accesslog")
