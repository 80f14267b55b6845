"""Envoy with one worker: one plain hop, or two with mutual TLS 1.3 and RBAC between them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.process import Measured, free_port, running

CALLER = "spiffe://cluster.local/ns/bank/sa/web"
CALLEE = "spiffe://cluster.local/ns/bank/sa/ledger"
GROUP = "X25519MLKEM768"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
HTTP_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@contextmanager
def hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    port = free_port()
    with start(folder, "envoy", port, listener(port), cluster(backend_port, "http/1.1")) as measured:
        yield measured


@contextmanager
def grpc_hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    """HTTP/2 without TLS on both sides."""
    port = free_port()
    with start(folder, "envoy", port, listener(port), cluster(backend_port, "h2")) as measured:
        yield measured


@contextmanager
def tcp_hop(folder: Path, backend_port: int) -> Iterator[Measured]:
    port = free_port()
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": "c",
    }
    listening = listener(port)
    listening["filter_chains"] = [
        {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}
    ]
    with start(folder, "envoy", port, listening, cluster(backend_port, "http/1.1")) as measured:
        yield measured


@contextmanager
def two_hops(folder: Path, backend_port: int, protocol: str) -> Iterator[Measured]:
    """`protocol` between the two is `h2` or `http/1.1`. The counts are of both processes together."""
    certificates(folder)
    port, between = free_port(), free_port()
    inbound = listener(between, rbac=True)
    inbound["filter_chains"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{TLS}.DownstreamTlsContext",
            "common_tls_context": tls_context(folder, "ledger", CALLER, protocol),
            "require_client_certificate": True,
            "disable_stateless_session_resumption": True,
            "disable_stateful_session_resumption": True,
        },
    }
    outbound = cluster(between, protocol)
    outbound["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{TLS}.UpstreamTlsContext",
            "common_tls_context": tls_context(folder, "web", CALLEE, protocol),
            "max_session_keys": 0,
        },
    }
    with (
        start(folder, "inbound", between, inbound, cluster(backend_port, "http/1.1")) as far,
        start(folder, "outbound", port, listener(port), outbound) as near,
    ):
        yield Measured(near.pids + far.pids, port)


@contextmanager
def start(
    folder: Path, name: str, port: int, listening: dict[str, Any], upstream: dict[str, Any]
) -> Iterator[Measured]:
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"static_resources": {"listeners": [listening], "clusters": [upstream]}}))
    envoy = str(Path(sys.executable).parent / "envoy")
    command = [
        envoy, "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn",
    ]  # fmt: skip
    with running(command, port, folder / f"{name}.log") as measured:
        yield measured


def listener(port: int, rbac: bool = False) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    allow = {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {
                "action": "ALLOW",
                "policies": {
                    "caller": {
                        "permissions": [{"any": True}],
                        "principals": [{"authenticated": {"principal_name": {"exact": CALLER}}}],
                    }
                },
            },
        },
    }
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "c"}}],
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [allow, router] if rbac else [router],
    }
    return {
        "name": "in",
        "address": address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


def cluster(port: int, protocol: str) -> dict[str, Any]:
    chosen: dict[str, Any] = (
        {"http2_protocol_options": {}} if protocol == "h2" else {"http_protocol_options": {}}
    )
    return {
        "name": "c",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "c",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": HTTP_OPTIONS,
                "explicit_http_config": chosen,
            }
        },
    }


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def tls_context(folder: Path, own: str, peer: str, protocol: str) -> dict[str, Any]:
    return {
        "alpn_protocols": [protocol],
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": [GROUP],
        },
        "tls_certificates": [
            {
                "certificate_chain": {"filename": f"{folder}/{own}.pem"},
                "private_key": {"filename": f"{folder}/{own}.key"},
            }
        ],
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
        files = ["-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"]
        subprocess.run(["openssl", "req", *leaf, *curve, *names, *files], check=True, capture_output=True)
