"""Which protocol a service's port carries, as far as its name and appProtocol tell."""

from typing import Literal

from hauberk.model.kubernetes.service import ServicePort

Carried = Literal["http", "tcp", "unknown"]

_HTTP = frozenset({"http", "http2", "grpc", "grpc-web", "h2c"})
_OTHER = frozenset({"tcp", "tls", "https", "mongo", "mysql", "redis", "postgres", "udp"})
_SERVER_FIRST = frozenset({25, 110, 143, 3306})


def speaks_http2(port: ServicePort) -> bool:
    """Whether the port's name or appProtocol says gRPC or HTTP/2."""
    words = ((port.app_protocol or "").lower().removeprefix("kubernetes.io/"), (port.name or "").lower())
    word = next((word for word in words if word), "")
    return not word.startswith("grpc-web") and word.split("-")[0] in {"grpc", "http2", "h2c"}


def carried(port: ServicePort) -> Carried:
    """`http` for all that has requests, `tcp` for what has not, `unknown` where it must be guessed."""
    if port.protocol == "UDP":
        return "tcp"
    words = [(port.app_protocol or "").lower().removeprefix("kubernetes.io/"), (port.name or "").lower()]
    for word in words:
        if word.startswith("grpc-web") or word.split("-")[0] in _HTTP:
            return "http"
        if word.split("-")[0] in _OTHER:
            return "tcp"
    return "tcp" if port.port in _SERVER_FIRST else "unknown"
