"""Access logs as Envoy is told of them: lines in a file, or entries sent to a collector over gRPC."""

from __future__ import annotations

from dataclasses import dataclass

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import config_source_pb2, grpc_service_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from google.protobuf import struct_pb2

from hauberk.mesh.tls import packed

Fields = tuple[tuple[str, str], ...]
"""Keys of a JSON line and what stands for them: Envoy's command operators."""

_BOTH = {
    "start_time": "%START_TIME%",
    "response_flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "upstream_host": "%UPSTREAM_HOST%",
    "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
    "downstream_peer": "%DOWNSTREAM_PEER_URI_SAN%",
    "upstream_peer": "%UPSTREAM_PEER_URI_SAN%",
}
_HTTP: Fields = tuple(
    (
        _BOTH
        | {
            "method": "%REQ(:METHOD)%",
            "authority": "%REQ(:AUTHORITY)%",
            "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
            "protocol": "%PROTOCOL%",
            "response_code": "%RESPONSE_CODE%",
            "response_code_details": "%RESPONSE_CODE_DETAILS%",
            "request_id": "%REQ(X-REQUEST-ID)%",
            "user_agent": "%REQ(USER-AGENT)%",
            "route_name": "%ROUTE_NAME%",
            "audit_policy": "%DYNAMIC_METADATA(envoy.filters.http.rbac:audit_shadow_effective_policy_id)%",
        }
    ).items()
)
_TCP: Fields = tuple(
    (
        _BOTH
        | {
            "requested_server_name": "%REQUESTED_SERVER_NAME%",
            "audit_policy": "%DYNAMIC_METADATA(envoy.filters.network.rbac:audit_shadow_effective_policy_id)%",
        }
    ).items()
)


@dataclass(frozen=True, slots=True)
class FileLog:
    """Lines in a file; our proxy writes every path to the file of its bootstrap."""

    path: str = "/dev/stdout"
    text: str = ""
    fields: Fields = ()
    """Without text and fields: JSON with the usual ones."""

    def http(self) -> accesslog_pb2.AccessLog:
        return self._log(_HTTP)

    def tcp(self) -> accesslog_pb2.AccessLog:
        return self._log(_TCP)

    def _log(self, usual: Fields) -> accesslog_pb2.AccessLog:
        log = file_pb2.FileAccessLog(path=self.path)
        if self.text:
            log.log_format.text_format_source.inline_string = self.text
        else:
            for key, value in self.fields or usual:
                log.log_format.json_format.fields[key].CopyFrom(struct_pb2.Value(string_value=value))
        return accesslog_pb2.AccessLog(name="envoy.access_loggers.file", typed_config=packed(log))


@dataclass(frozen=True, slots=True)
class HttpLogService:
    """Entries of HTTP requests, sent to a collector (`envoy.service.accesslog.v3`)."""

    cluster: str
    log_name: str

    def http(self) -> accesslog_pb2.AccessLog:
        config = als_pb2.HttpGrpcAccessLogConfig(common_config=_common(self.cluster, self.log_name))
        return accesslog_pb2.AccessLog(name="envoy.access_loggers.http_grpc", typed_config=packed(config))

    def tcp(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class TcpLogService:
    """Entries of TCP connections, sent to a collector."""

    cluster: str
    log_name: str

    def http(self) -> None:
        return None

    def tcp(self) -> accesslog_pb2.AccessLog:
        config = als_pb2.TcpGrpcAccessLogConfig(common_config=_common(self.cluster, self.log_name))
        return accesslog_pb2.AccessLog(name="envoy.access_loggers.tcp_grpc", typed_config=packed(config))


AccessLogger = FileLog | HttpLogService | TcpLogService


def grpc_cluster(name: str) -> grpc_service_pb2.GrpcService:
    """A gRPC service behind one of the clusters that the proxy is sent."""
    return grpc_service_pb2.GrpcService(envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=name))


def _common(cluster: str, log_name: str) -> als_pb2.CommonGrpcAccessLogConfig:
    return als_pb2.CommonGrpcAccessLogConfig(
        log_name=log_name,
        grpc_service=grpc_cluster(cluster),
        transport_api_version=config_source_pb2.ApiVersion.V3,
    )
