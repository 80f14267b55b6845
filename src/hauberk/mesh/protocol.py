"""Which protocol a service port speaks (Istio, "Protocol Selection"): told, known, or to be detected."""

from enum import Enum


class Protocol(Enum):
    """How the proxy treats the bytes of a port."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"
    DETECT = "DETECT"

    @property
    def is_http(self) -> bool:
        """Routed request by request, whatever the bytes turn out to be."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)

    @property
    def is_http2(self) -> bool:
        """The program behind the port speaks HTTP/2."""
        return self in (Protocol.HTTP2, Protocol.GRPC)


_BY_NAME = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.HTTP,
    "tcp": Protocol.TCP,
    "tls": Protocol.TLS,
    "https": Protocol.TLS,
    "mysql": Protocol.TCP,
    "redis": Protocol.TCP,
    "mongo": Protocol.TCP,
    "postgres": Protocol.TCP,
    "postgresql": Protocol.TCP,
    "udp": Protocol.UDP,
}

_BY_APPLICATION_PROTOCOL = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.TLS,
}

SERVER_FIRST_PORTS = frozenset({20, 21, 22, 25, 53, 110, 143, 587, 993, 995, 3306, 3389, 5432, 6379, 27017})
"""Where a client waits for the server's greeting, or speaks a protocol that is surely not HTTP."""


def select_protocol(port: int, name: str, application_protocol: str, transport: str = "TCP") -> Protocol:
    """By `appProtocol`, else by the name (`http`, `http-web`), else by the well-known number, else detected."""
    if transport != "TCP":
        return Protocol.UDP
    if application_protocol:
        lowered = application_protocol.lower()
        told = _BY_APPLICATION_PROTOCOL.get(lowered) or _BY_NAME.get(lowered)
        if told:
            return told
    lowered = name.lower()
    if lowered.startswith("grpc-web"):
        return Protocol.HTTP
    told = _BY_NAME.get(lowered.split("-", 1)[0])
    if told:
        return told
    if port in SERVER_FIRST_PORTS:
        return Protocol.TCP
    return Protocol.DETECT
