"""`MeshConfig`: what holds for the whole mesh, in the words of Istio's configuration of the same name."""

from typing import Annotated, Any

from msgspec import Meta, field

from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import MeshStruct, Port, doc


class LogFormat(MeshStruct, frozen=True):
    """How a line looks. Values hold Envoy's command operators: `%RESPONSE_CODE%`, `%REQ(:PATH)%`, …"""

    text: Annotated[str | None, doc("A line as it stands.")] = None
    labels: Annotated[dict[str, str], doc("A JSON object: keys, and what stands for them.")] = field(
        default_factory=dict
    )


class FileAccessLog(MeshStruct, frozen=True):
    """Lines in the proxy's access log, for HTTP requests and TCP connections."""

    path: Annotated[str, doc("Our proxy writes every path to its one access log.")] = "/dev/stdout"
    log_format: Annotated[LogFormat | None, doc("JSON with the usual fields if left out.")] = None


class AccessLogService(MeshStruct, frozen=True):
    """A collector that takes entries over gRPC (`envoy.service.accesslog.v3`)."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port that carries gRPC.")]
    log_name: Annotated[str | None, doc("What the collector calls this log.")] = None


class OpenTelemetry(MeshStruct, frozen=True):
    """A collector that takes spans by OTLP over gRPC."""

    service: Annotated[str, Meta(min_length=1), doc("Full name of the service: `NAME.NAMESPACE.svc.…`.")]
    port: Annotated[Port, doc("A port that carries gRPC.")]


class ExtensionProvider(MeshStruct, frozen=True):
    """Where telemetry goes, under a name that a Telemetry can use. Exactly one of the others is set."""

    name: Annotated[str, Meta(min_length=1)]
    envoy_file_access_log: FileAccessLog | None = None
    envoy_http_als: Annotated[AccessLogService | None, doc("Entries of HTTP requests.")] = None
    envoy_tcp_als: Annotated[AccessLogService | None, doc("Entries of TCP connections.")] = None
    opentelemetry: Annotated[OpenTelemetry | None, doc("Spans.")] = None


class DefaultProviders(MeshStruct, frozen=True):
    """Providers by name, used where no Telemetry says otherwise."""

    access_logging: Annotated[
        tuple[str, ...] | None,
        doc("`envoy`, the access log of each proxy, if left out; an empty list: none."),
    ] = None
    tracing: Annotated[tuple[str, ...] | None, doc("None if left out; only the first is used.")] = None


class MeshConfigSpec(MeshStruct, frozen=True):
    """What holds for the whole mesh."""

    extension_providers: Annotated[
        tuple[ExtensionProvider, ...], doc("Beside `envoy`, which is always there.")
    ] = ()
    default_providers: DefaultProviders | None = None


class MeshConfig(MeshStruct, frozen=True):
    """Settings of the mesh. There is one, named `default`."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[MeshConfigSpec, doc("The settings.")] = MeshConfigSpec()
    status: dict[str, Any] | None = None
