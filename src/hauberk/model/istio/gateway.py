"""Istio's Gateway: ports on which calls enter the mesh."""

from typing import Annotated, Any, Literal

from msgspec import field

from hauberk.model.istio.destination import Count
from hauberk.model.kubernetes.meta import ObjectMeta
from hauberk.model.struct import MeshStruct, doc

TlsVersion = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]


class GatewayPort(MeshStruct, frozen=True):
    """A port of the gateway."""

    number: Count
    protocol: Annotated[str, doc("HTTP, HTTPS, GRPC, HTTP2, MONGO, TCP or TLS.")]
    name: str
    target_port: Count | None = None


class TlsCertificate(MeshStruct, frozen=True):
    """Files of a certificate and its key."""

    server_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None


class ServerTls(MeshStruct, frozen=True):
    """TLS of a gateway's port."""

    https_redirect: bool | None = None
    mode: (
        Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"]
        | None
    ) = None
    server_certificate: str | None = None
    private_key: str | None = None
    ca_certificates: str | None = None
    ca_crl: str | None = None
    ca_cert_credential_name: str | None = None
    insecure_skip_verify: bool | None = None
    credential_name: Annotated[str | None, doc("A Secret with the certificate and its key.")] = None
    credential_names: tuple[str, ...] = ()
    tls_certificates: tuple[TlsCertificate, ...] = ()
    subject_alt_names: tuple[str, ...] = ()
    verify_certificate_spki: tuple[str, ...] = ()
    verify_certificate_hash: tuple[str, ...] = ()
    min_protocol_version: TlsVersion | None = None
    max_protocol_version: TlsVersion | None = None
    cipher_suites: tuple[str, ...] = ()


class Server(MeshStruct, frozen=True):
    """A port, the hosts served on it and its TLS."""

    port: GatewayPort
    hosts: Annotated[tuple[str, ...], doc("Host names, `NAMESPACE/HOST` for those of one namespace.")]
    bind: str | None = None
    tls: ServerTls | None = None
    default_endpoint: str | None = None
    name: str | None = None


class GatewaySpec(MeshStruct, frozen=True):
    """Ports of the gateway pods."""

    servers: Annotated[tuple[Server, ...], doc("Ports and hosts.")] = ()
    selector: Annotated[dict[str, str], doc("Labels of the gateway pods, in any namespace.")] = field(
        default_factory=dict
    )


class Gateway(MeshStruct, frozen=True):
    """Ports of gateway pods on which calls from outside enter the mesh."""

    metadata: ObjectMeta = ObjectMeta()
    spec: Annotated[GatewaySpec, doc("Which pods, ports and hosts.")] = GatewaySpec()
    status: dict[str, Any] | None = None
