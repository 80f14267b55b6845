"""Envoy with one worker: one plain hop, or two in the gates of two pods with mutual TLS 1.3 and RBAC between them.

Its configuration is static and holds no more than the work needs. Where our access log is on, so is Envoy's, with the
same fields, into a file.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from google.protobuf import json_format
from tests.bench import credentials, objects
from tests.bench.gates import Place
from tests.bench.process import Measured, answers_ready, free_port, running

from hauberk.mesh.access_logs import FileLog
from hauberk.mesh.tls import CURVES
from hauberk.node.rules import INBOUND_PORT, OUTBOUND_PORT, UPSTREAM_MARK

EXTENSIONS = "type.googleapis.com/envoy.extensions"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ANY = "0.0.0.0"


@dataclass(frozen=True)
class Settings:
    """How one Envoy is set up."""

    access_log: bool = True
    buffer_bytes: int | None = None
    """Of a connection; None for Envoy's own 1 MiB."""
    requests_a_connection: int | None = None
    """Between two proxies; None: without limit."""
    workers: int = 1
    hosts: int = 0
    """Virtual hosts of one hop, as `objects.gateway` has them."""
    rules: int = 1
    """Of RBAC, as `objects.two_workloads` has them."""


@contextmanager
def hop(
    folder: Path, backend_port: int, *, protocol: str = "http", settings: Settings = Settings()
) -> Iterator[Measured]:
    """`protocol` is what the program behind it speaks: `http`, `grpc` or `tcp`."""
    port = free_port()
    tcp = protocol == "tcp"
    log = access_log(folder / "envoy-access.log", settings, tcp=tcp)
    filters = [tcp_proxy(log)] if tcp else [manager(log, settings)]
    upstream = cluster("127.0.0.1", backend_port, settings, http2=protocol == "grpc")
    listening = listener("127.0.0.1", port, filters, settings)
    with start(folder, "envoy", listening, upstream, settings) as pid:
        yield Measured((pid,), port)


@contextmanager
def two_hops(
    folder: Path,
    web: Place,
    ledger: Place,
    *,
    protocol: str = "http",
    http2: bool = False,
    settings: Settings = Settings(),
) -> Iterator[Measured]:
    """`protocol` as in `hop`; `http2`: between the two. The counts are of both processes together."""
    certificates(folder)
    out_log = access_log(folder / "out.log", settings, tcp=protocol == "tcp")
    outbound_filters = [tcp_proxy(out_log)] if protocol == "tcp" else [manager(out_log, settings)]
    outbound = listener(ANY, OUTBOUND_PORT, outbound_filters, settings)
    outbound["transparent"] = True
    spoken = alpn(protocol, http2)
    between = cluster(objects.LEDGER, objects.PROGRAM_PORT, settings, http2=spoken == "h2")
    between["transport_socket"] = client_tls(folder, spoken)
    between["upstream_bind_config"] = source_address(objects.WEB)
    if settings.requests_a_connection is not None:
        options = between["typed_extension_protocol_options"][HTTP_OPTIONS]
        options["common_http_protocol_options"] = {
            "max_requests_per_connection": settings.requests_a_connection
        }
    with (
        inbound(folder, ledger, protocol, spoken, settings) as far,
        start(folder, "outbound", outbound, between, settings, web.in_gate) as near,
    ):
        yield Measured((near, far), 80, objects.LEDGER_SERVICE, web.in_pod)


@contextmanager
def far_hop(
    folder: Path, web: Place, ledger: Place, *, settings: Settings = Settings()
) -> Iterator[Measured]:
    """The inbound one of two hops, to be called from `web`'s gate with the certificate in `folder`."""
    certificates(folder)
    with inbound(folder, ledger, "http", alpn("http", http2=False), settings) as far:
        yield Measured((far,), objects.PROGRAM_PORT, objects.LEDGER, web.in_gate)


@contextmanager
def inbound(folder: Path, ledger: Place, protocol: str, spoken: str, settings: Settings) -> Iterator[int]:
    in_log = access_log(folder / "in.log", settings, tcp=protocol == "tcp")
    filters = (
        [allow_caller("network", settings), tcp_proxy(in_log)]
        if protocol == "tcp"
        else [manager(in_log, settings, rbac=True)]
    )
    listening = listener(ANY, INBOUND_PORT, filters, settings)
    listening["transparent"] = True
    listening["listener_filters"] = [original_source()]
    listening["filter_chains"][0]["transport_socket"] = server_tls(folder, spoken)
    program = cluster(objects.LEDGER, objects.PROGRAM_PORT, settings, http2=protocol == "grpc")
    with start(folder, "inbound", listening, program, settings, ledger.in_gate) as far:
        yield far


def alpn(protocol: str, http2: bool) -> str:
    """What two Envoys speak between them."""
    if protocol == "tcp":
        return "istio"
    return "h2" if http2 or protocol == "grpc" else "http/1.1"


@contextmanager
def start(
    folder: Path,
    name: str,
    listening: dict[str, Any],
    upstream: dict[str, Any],
    settings: Settings,
    prefix: tuple[str, ...] = (),
) -> Iterator[int]:
    file, admin = folder / f"{name}.json", folder / f"{name}.sock"
    content = {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {"listeners": [listening], "clusters": [upstream]},
    }
    file.write_text(json.dumps(content))
    command = [
        *prefix, str(Path(sys.executable).parent / "envoy"), "-c", str(file),
        "--concurrency", str(settings.workers), "--disable-hot-restart", "--log-level", "warn",
    ]  # fmt: skip
    with running(command, answers_ready(admin), folder / f"{name}.out") as pid:
        yield pid


def listener(host: str, port: int, filters: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": "in",
        "address": address(host, port),
        "filter_chains": [{"filters": filters}],
    }
    if settings.buffer_bytes is not None:
        made["per_connection_buffer_limit_bytes"] = settings.buffer_bytes
    return made


def manager(log: list[dict[str, Any]], settings: Settings, rbac: bool = False) -> dict[str, Any]:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}]
    names = {f"h{number}": f"h{number}.example" for number in range(settings.hosts)} or {"all": "*"}
    hosts = [{"name": name, "domains": [domain], "routes": routes} for name, domain in names.items()]
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "route_config": {"virtual_hosts": hosts},
            "http_filters": [allow_caller("http", settings), router] if rbac else [router],
            "access_log": log,
        },
    }


def allow_caller(kind: str, settings: Settings) -> dict[str, Any]:
    """RBAC, `kind` `http` or `network`. Envoy looks at policies in the order of their names; `web` is last."""
    policies = {
        f"rule-{number:05}": {
            "permissions": [{"any": True}],
            "principals": [{"authenticated": {"principal_name": {"exact": identity(account)}}}],
        }
        for number, account in enumerate(objects.allowed(settings.rules))
    }
    made = {
        "@type": f"{EXTENSIONS}.filters.{kind}.rbac.v3.RBAC",
        "rules": {"action": "ALLOW", "policies": policies},
    }
    if kind == "network":
        made["stat_prefix"] = "rbac"
    return {"name": f"envoy.filters.{kind}.rbac", "typed_config": made}


def identity(account: str) -> str:
    return f"spiffe://cluster.local/ns/{objects.NAMESPACE}/sa/{account}"


def tcp_proxy(log: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "envoy.filters.network.tcp_proxy",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp",
            "cluster": "c",
            "access_log": log,
        },
    }


def access_log(file: Path, settings: Settings, *, tcp: bool = False) -> list[dict[str, Any]]:
    """The log that our control plane tells of, into a file."""
    if not settings.access_log:
        return []
    told = FileLog(str(file))
    log = told.tcp() if tcp else told.http()
    return [json_format.MessageToDict(log, preserving_proto_field_name=True)]


def cluster(host: str, port: int, settings: Settings, *, http2: bool = False) -> dict[str, Any]:
    spoken: dict[str, Any] = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}}
    made: dict[str, Any] = {
        "name": "c",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "c",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(host, port)}}]}],
        },
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                "explicit_http_config": spoken,
            }
        },
    }
    if settings.buffer_bytes is not None:
        made["per_connection_buffer_limit_bytes"] = settings.buffer_bytes
    return made


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def original_source() -> dict[str, Any]:
    """The program sees its caller's address, as behind our proxy."""
    return {
        "name": "envoy.filters.listener.original_src",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.listener.original_src.v3.OriginalSrc",
            "mark": UPSTREAM_MARK,
        },
    }


def source_address(pod: str) -> dict[str, Any]:
    """The fabric sees the pod's address: IP_TRANSPARENT and SO_MARK before the socket is bound."""
    options = ((0, 19, 1), (1, 36, UPSTREAM_MARK))
    return {
        "source_address": {"address": pod, "port_value": 0},
        "socket_options": [
            {"level": level, "name": name, "int_value": value, "state": "STATE_PREBIND"}
            for level, name, value in options
        ],
    }


def server_tls(folder: Path, protocol: str) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": tls_context(folder, "ledger", identity("web"), protocol),
            "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
            "disable_stateful_session_resumption": True,
        },
    }


def client_tls(folder: Path, protocol: str) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": tls_context(folder, "web", identity("ledger"), protocol),
            "max_session_keys": 0,
        },
    }


def tls_context(folder: Path, own: str, peer: str, protocol: str) -> dict[str, Any]:
    certificate = {
        "certificate_chain": {"filename": f"{folder}/{own}.pem"},
        "private_key": {"filename": f"{folder}/{own}.key"},
    }
    return {
        "alpn_protocols": [protocol],
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": list(CURVES),
        },
        "tls_certificates": [certificate],
        "validation_context": {
            "trusted_ca": {"filename": f"{folder}/ca.pem"},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": peer}}],
        },
    }


def certificates(folder: Path) -> None:
    """Of an authority like ours: a leaf and an intermediate for each side."""
    with TemporaryDirectory() as state:
        source = credentials.authority(Path(state))
        for account in ("web", "ledger"):
            credentials.write(source, objects.NAMESPACE, account, folder)
