"""ExternalProcessor → Envoy's `ext_proc` filters, behind what decides who may call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2, processing_mode_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2

from hauberk.mesh import filters
from hauberk.mesh.clusters import outbound_name
from hauberk.mesh.durations import duration
from hauberk.mesh.policy_targets import applies
from hauberk.mesh.registry import Configuration, Labels, Mesh

_PATIENCE = "0.2s"


@dataclass(frozen=True, slots=True)
class ExternalProcessors:
    """Those that apply to one workload."""

    objects: tuple[Configuration, ...] = ()

    def http_filters(self) -> list[http_connection_manager_pb2.HttpFilter]:
        return [filters.http_filter("envoy.filters.http.ext_proc", _filter(one)) for one in self.objects]


def select_external_processors(
    objects: Iterable[Configuration], namespace: str, labels: Labels, mesh: Mesh
) -> ExternalProcessors:
    """Those that apply to a workload, the oldest first."""
    return ExternalProcessors(tuple(one for one in objects if applies(one, namespace, labels, mesh)))


def _filter(one: Configuration) -> ext_proc_pb2.ExternalProcessor:
    service = one.spec["service"]
    request, response = one.spec.get("request") or {}, one.spec.get("response") or {}
    host = str(service["service"]).rpartition("/")[2]
    config = ext_proc_pb2.ExternalProcessor(
        failure_mode_allow=service.get("failureMode") == "Allow",
        processing_mode=processing_mode_pb2.ProcessingMode(
            request_header_mode=_headers(request),
            response_header_mode=_headers(response),
            request_body_mode=_body(request),
            response_body_mode=_body(response),
            request_trailer_mode="SKIP",
            response_trailer_mode="SKIP",
        ),
        message_timeout=duration(service.get("timeout") or _PATIENCE),
        stat_prefix=f"{one.namespace}/{one.name}",
    )
    config.grpc_service.envoy_grpc.cluster_name = outbound_name(host, int(service["port"]))
    config.grpc_service.envoy_grpc.authority = host
    return config


def _headers(told: Mapping[str, Any]) -> str:
    return "SKIP" if told.get("headers") == "Skip" else "SEND"


def _body(told: Mapping[str, Any]) -> str:
    return "BUFFERED" if told.get("body") == "Buffered" else "NONE"
