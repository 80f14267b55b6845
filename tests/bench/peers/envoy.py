"""Envoy with one worker: one plain hop, or two in the gates of two pods with mutual TLS 1.3 and RBAC between them.

Its configuration is static and holds no more than the work needs. Where our access log is on, so is Envoy's, with the
same fields, into a file.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from tests.bench import objects
from tests.bench.gates import Place
from tests.bench.process import Measured, answers_ready, free_port, running

from hauberk.mesh.access_logs import FileLog
from hauberk.mesh.tls import CURVES
from hauberk.node.rules import INBOUND_PORT, OUTBOUND_PORT, UPSTREAM_MARK

CALLER = f"spiffe://cluster.local/ns/{objects.NAMESPACE}/sa/web"
CALLEE = f"spiffe://cluster.local/ns/{objects.NAMESPACE}/sa/ledger"
EXTENSIONS = "type.googleapis.com/envoy.extensions"
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
ANY = "0.0.0.0"


@dataclass(frozen=True)
class Settings:
    """How one Envoy is set up. `buffer_bytes`: of a connection, None for Envoy's own 1 MiB."""

    access_log: bool = True
    buffer_bytes: int | None = None


@contextmanager
def hop(
    folder: Path, backend_port: int, *, protocol: str = "http", settings: Settings = Settings()
) -> Iterator[Measured]:
    """`protocol` is what the program behind it speaks: `http`, `grpc` or `tcp`."""
    port = free_port()
    tcp = protocol == "tcp"
    log = access_log(folder / "envoy-access.log", settings, tcp=tcp)
    filter_ = tcp_proxy(log) if tcp else manager(log)
    upstream = cluster("127.0.0.1", backend_port, settings, http2=protocol == "grpc")
    with start(folder, "envoy", listener("127.0.0.1", port, filter_, settings), upstream) as pid:
        yield Measured((pid,), port)


@contextmanager
def two_hops(
    folder: Path, web: Place, ledger: Place, *, http2: bool, settings: Settings = Settings()
) -> Iterator[Measured]:
    """`http2`: between the two. The counts are of both processes together."""
    certificates(folder)
    protocol = "h2" if http2 else "http/1.1"
    inbound = listener(
        ANY, INBOUND_PORT, manager(access_log(folder / "in.log", settings), rbac=True), settings
    )
    inbound["transparent"] = True
    inbound["listener_filters"] = [original_source()]
    inbound["filter_chains"][0]["transport_socket"] = server_tls(folder, protocol)
    outbound = listener(ANY, OUTBOUND_PORT, manager(access_log(folder / "out.log", settings)), settings)
    outbound["transparent"] = True
    between = cluster(objects.LEDGER, objects.PROGRAM_PORT, settings, http2=http2)
    between["transport_socket"] = client_tls(folder, protocol)
    between["upstream_bind_config"] = source_address(objects.WEB)
    program = cluster(objects.LEDGER, objects.PROGRAM_PORT, settings)
    with (
        start(folder, "inbound", inbound, program, ledger.in_gate) as far,
        start(folder, "outbound", outbound, between, web.in_gate) as near,
    ):
        yield Measured((near, far), 80, objects.LEDGER_SERVICE, web.in_pod)


@contextmanager
def start(
    folder: Path,
    name: str,
    listening: dict[str, Any],
    upstream: dict[str, Any],
    prefix: tuple[str, ...] = (),
) -> Iterator[int]:
    file, admin = folder / f"{name}.json", folder / f"{name}.sock"
    content = {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {"listeners": [listening], "clusters": [upstream]},
    }
    file.write_text(json.dumps(content))
    command = [
        *prefix, str(Path(sys.executable).parent / "envoy"), "-c", str(file), "--concurrency", "1",
        "--disable-hot-restart", "--log-level", "warn",
    ]  # fmt: skip
    with running(command, answers_ready(admin), folder / f"{name}.out") as pid:
        yield pid


def listener(host: str, port: int, filter_: dict[str, Any], settings: Settings) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": "in",
        "address": address(host, port),
        "filter_chains": [{"filters": [filter_]}],
    }
    if settings.buffer_bytes is not None:
        made["per_connection_buffer_limit_bytes"] = settings.buffer_bytes
    return made


def manager(log: list[dict[str, Any]], rbac: bool = False) -> dict[str, Any]:
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}],
    }
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"},
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "http",
            "route_config": {"virtual_hosts": [host]},
            "http_filters": [allow_caller(), router] if rbac else [router],
            "access_log": log,
        },
    }


def allow_caller() -> dict[str, Any]:
    policy = {
        "permissions": [{"any": True}],
        "principals": [{"authenticated": {"principal_name": {"exact": CALLER}}}],
    }
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{EXTENSIONS}.filters.http.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"caller": policy}},
        },
    }


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
            "common_tls_context": tls_context(folder, "ledger", CALLER, protocol),
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
            "common_tls_context": tls_context(folder, "web", CALLEE, protocol),
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
    """An authority and one P-256 certificate with a SPIFFE ID for each side."""
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    authority = ["-x509", "-subj", "/CN=bench", "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.pem"]
    subprocess.run(["openssl", "req", *authority, *curve], check=True, capture_output=True)
    for name, identity in (("web", CALLER), ("ledger", CALLEE)):
        leaf = ["-x509", "-CA", f"{folder}/ca.pem", "-CAkey", f"{folder}/ca.key", "-subj", f"/CN={name}"]
        names = ["-addext", f"subjectAltName=URI:{identity}", "-addext", "basicConstraints=CA:FALSE"]
        names += ["-addext", "keyUsage=critical,digitalSignature"]
        files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
        subprocess.run(["openssl", "req", *leaf, *curve, *names, *files], check=True, capture_output=True)
