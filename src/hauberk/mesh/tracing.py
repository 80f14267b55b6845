"""Tracing as Envoy is told of it: spans by OTLP to a collector."""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.trace.v3 import http_tracer_pb2, opentelemetry_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.tracing.v3 import custom_tag_pb2

from hauberk.mesh.access_logs import grpc_cluster
from hauberk.mesh.tls import packed


@dataclass(frozen=True, slots=True)
class CustomTag:
    """A further attribute of spans: a header of the request (`default` where it is not there), or a text."""

    name: str
    header: str
    default: str

    def to_envoy(self) -> custom_tag_pb2.CustomTag:
        if not self.header:
            return custom_tag_pb2.CustomTag(tag=self.name, literal={"value": self.default})
        header = custom_tag_pb2.CustomTag.Header(name=self.header, default_value=self.default)
        return custom_tag_pb2.CustomTag(tag=self.name, request_header=header)


@dataclass(frozen=True, slots=True)
class Tracing:
    """Which requests a proxy traces, and the cluster of the collector."""

    cluster: str
    service_name: str
    percentage: float
    """Of the requests whose trace begins here."""
    tags: tuple[CustomTag, ...] = ()

    def to_envoy(self) -> http_connection_manager_pb2.HttpConnectionManager.Tracing:
        config = opentelemetry_pb2.OpenTelemetryConfig(
            grpc_service=grpc_cluster(self.cluster), service_name=self.service_name
        )
        return http_connection_manager_pb2.HttpConnectionManager.Tracing(
            random_sampling={"value": self.percentage},
            custom_tags=[tag.to_envoy() for tag in self.tags],
            provider=http_tracer_pb2.Tracing.Http(
                name="envoy.tracers.opentelemetry", typed_config=packed(config)
            ),
        )
