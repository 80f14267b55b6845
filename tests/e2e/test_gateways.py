"""Live calls through gateways of Istio and of the Gateway API: HTTP, gRPC, TLS and TCP, and what breaks a circuit."""

import base64
import http.client
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from instance_testing.instance import TestInstance, instance, wait_until
from instance_testing.samples import write

pytestmark = pytest.mark.root

HERE = Path(__file__).parent
MANIFESTS = HERE / "gateways"
GRANT = {
    "apiVersion": "gateway.networking.k8s.io/v1beta1",
    "kind": "ReferenceGrant",
    "metadata": {"name": "apps", "namespace": "other"},
    "spec": {
        "from": [
            {"group": "gateway.networking.k8s.io", "kind": kind, "namespace": "apps"}
            for kind in ("HTTPRoute", "TCPRoute")
        ],
        "to": [{"group": "", "kind": "Service"}],
    },
}
PYTHON = "/usr/bin/python3"


def source(name: str) -> str:
    """A program of these tests: of this folder's, or of those that the mesh of the other tests runs."""
    own = MANIFESTS / name
    if own.exists():
        return own.read_text()
    for found in yaml.safe_load_all((HERE / "manifests" / "programs.yaml").read_text()):
        return str(found["data"][name])
    raise FileNotFoundError(name)


def application(
    name: str, port: tuple[str, int, int], command: Sequence[str], namespace: str = "apps", service: str = ""
) -> list[dict[str, Any]]:
    """A Deployment and the Service before it. `port` is its name, its number, and the program's own."""
    protocol, number, target = port
    labels = {"app": name, "service": service or name}
    container: dict[str, Any] = {"name": name, "image": "host", "command": list(command)}
    container["readinessProbe"] = {"tcpSocket": {"port": target}, "periodSeconds": 1}
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    if name == "sealed":
        container["volumeMounts"] = [{"name": "certificate", "mountPath": "/srv/certificate"}]
        spec["volumes"] = [{"name": "certificate", "secret": {"secretName": "sealed"}}]
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": service or name, "namespace": namespace},
            "spec": {
                "selector": {"service": service or name},
                "ports": [{"name": protocol, "port": number, "targetPort": target}],
            },
        },
    ]


def applications() -> list[dict[str, Any]]:
    web, flaky = source("web.py"), source("flaky.py")
    http = ("http", 8000, 8000)
    httpbin = [PYTHON, "-m", "httpbin.core", "--host", "0.0.0.0", "--port", "8000"]
    return [
        *(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            for name in ("apps", "other")
        ),
        *application("web", http, [PYTHON, "-c", web, "v1"]),
        *application("web-v2", http, [PYTHON, "-c", web, "v2"]),
        *application("guarded", http, [PYTHON, "-c", web, "guarded"], "other"),
        *application("echo", ("tcp", 7000, 7000), [PYTHON, "-c", source("echo.py")], "other"),
        *application("grpc", ("grpc", 9000, 9000), [PYTHON, "-c", source("grpc_echo.py")]),
        *application("sealed", ("tls", 443, 8443), [PYTHON, "-c", source("sealed.py")]),
        *application("httpbin", http, httpbin),
        *application("good", http, [PYTHON, "-c", flaky, "200"], service="flaky"),
        *application("bad", http, [PYTHON, "-c", flaky, "503"], service="flaky"),
    ]


@dataclass(frozen=True)
class Edge:
    """The gateway as a visitor meets it."""

    mesh: TestInstance
    address: str

    def answer(
        self,
        path: str = "/",
        *,
        host: str = "api.example",
        port: int = 80,
        ca: Path | None = None,
        **headers: str,
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers; with `ca`, over TLS to a server that must prove the host's name."""
        connection = http.client.HTTPConnection(self.address, port, timeout=20)
        if ca is not None:
            connection = http.client.HTTPSConnection(host, port, timeout=20)
            raw = socket.create_connection((self.address, port), 20)
            connection.sock = ssl.create_default_context(cafile=str(ca)).wrap_socket(
                raw, server_hostname=host
            )
        connection.request("GET", path, headers={"host": host} | headers)
        found = connection.getresponse()
        text = found.read().decode()
        connection.close()
        return found.status, text, dict(found.getheaders())

    def echo(self, port: int) -> str:
        """What comes back over TCP; nothing if the connection is refused or ended."""
        try:
            with socket.create_connection((self.address, port), 5) as connection:
                connection.sendall(b"hello")
                return connection.recv(100).decode()
        except OSError:
            return ""


def certificate(folder: Path, host: str) -> Path:
    """A certificate for a host that proves itself, `HOST.crt` and `HOST.key`; its own authority."""
    crt = folder / f"{host}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-keyout", str(crt.with_suffix(".key")), "-out", str(crt), "-subj", f"/CN={host}",
         "-addext", f"subjectAltName=DNS:{host}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return crt


def tls_secret(name: str, namespace: str, crt: Path) -> dict[str, Any]:
    files = {"tls.crt": crt, "tls.key": crt.with_suffix(".key")}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "data": {key: base64.b64encode(file.read_bytes()).decode() for key, file in files.items()},
    }


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A certificate for each host."""
    folder = tmp_path_factory.mktemp("certificates")
    return {name: certificate(folder, f"{name}.example") for name in ("shop", "api", "sealed")}


@pytest.fixture(scope="module")
def edge(authorities: dict[str, Path]) -> Iterator[Edge]:
    with instance() as mesh:
        folder = mesh.folder / "manifests"
        folder.mkdir()
        secrets = [tls_secret("shop", "edge", authorities["shop"]), tls_secret("api", "edge", authorities["api"]),
                   tls_secret("sealed", "apps", authorities["sealed"])]  # fmt: skip
        write([*applications(), *secrets], folder / "applications.json")
        for name in ("edge.yaml", "routes.yaml"):
            shutil.copy(MANIFESTS / name, folder)
        mesh.said("up", "-d", str(folder), timeout=180)
        (pod,) = json.loads(mesh.said("get", "pods", "-n", "edge", "-o", "json"))["items"]
        yield Edge(mesh, pod["status"]["podIP"])


def test_https_ends_at_istios_gateway(edge: Edge, authorities: dict[str, Path]) -> None:
    status, text, headers = edge.answer(host="shop.example", port=443, ca=authorities["shop"])
    assert (status, text) == (200, "v1\n")
    assert "/ns/edge/sa/edge" in headers["caller"], "the second hop is mutual TLS"
    with pytest.raises(OSError, match=r"reset|EOF|closed"):
        edge.answer(host="other.example", port=443, ca=authorities["shop"])


@pytest.mark.parametrize("port", [444, 8444], ids=["Istio", "Gateway API"])
def test_tls_is_passed_through_by_its_server_name(
    edge: Edge, authorities: dict[str, Path], port: int
) -> None:
    sealed = authorities["sealed"]
    assert edge.answer(host="sealed.example", port=port, ca=sealed)[:2] == (200, "sealed\n")
    with pytest.raises(OSError, match=r"reset|EOF|closed"):
        edge.answer(host="else.example", port=port, ca=sealed)


def test_a_gateway_is_reached_over_ipv6(edge: Edge, authorities: dict[str, Path]) -> None:
    (pod,) = json.loads(edge.mesh.said("get", "pods", "-n", "edge", "-o", "json"))["items"]
    six = Edge(edge.mesh, pod["status"]["podIPs"][1]["ip"])
    assert ":" in six.address
    assert six.answer(host="shop.example", port=443, ca=authorities["shop"])[:2] == (200, "v1\n")
    assert six.answer(host="sealed.example", port=444, ca=authorities["sealed"])[:2] == (200, "sealed\n")
    assert six.echo(31400) == "hello"


def test_tcp_through_istios_gateway(edge: Edge) -> None:
    assert edge.echo(31400) == "hello"


def test_an_http_route_matches_and_splits(edge: Edge, authorities: dict[str, Path]) -> None:
    assert edge.answer()[:2] == (200, "v1\n")
    assert edge.answer(wants="v2")[:2] == (200, "v2\n")
    assert edge.answer(host="else.example")[0] == 404
    assert edge.answer(port=8443, ca=authorities["api"], wants="v2")[:2] == (200, "v2\n")
    with ThreadPoolExecutor(6) as threads:
        seen = Counter(threads.map(lambda _: edge.answer("/split")[1].strip(), range(200)))
    # Three of four, and five standard deviations about it.
    assert seen.keys() == {"v1", "v2"}
    assert 119 < seen["v1"] < 181, seen


def test_a_grpc_route_leads_a_method_and_no_other(edge: Edge) -> None:
    options = [("grpc.default_authority", "grpc.example")]
    with grpc.insecure_channel(f"{edge.address}:80", options=options) as channel:
        echo = channel.stream_stream("/test.Echo/Echo")
        words = [f"word {number}".encode() for number in range(50)]
        assert list(echo(iter(words), timeout=10)) == words
        other = channel.stream_stream("/test.Echo/Other")
        with pytest.raises(grpc.RpcError) as refused:
            list(other(iter(words), timeout=10))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_another_namespace_needs_a_reference_grant(edge: Edge) -> None:
    assert edge.answer("/guarded")[0] == 500
    assert edge.echo(9000) == ""
    edge.mesh.said("apply", "-f", "-", text=json.dumps(GRANT))
    wait_until(lambda: edge.answer("/guarded")[:2] == (200, "guarded\n"), 10, "the HTTPRoute leads there")
    wait_until(lambda: edge.echo(9000) == "hello", 10, "the TCPRoute leads there")
    edge.mesh.said("delete", "referencegrant", "apps", "-n", "other")
    wait_until(lambda: edge.answer("/guarded")[0] == 500, 10, "the HTTPRoute leads nowhere")
    wait_until(lambda: edge.echo(9000) == "", 10, "the TCPRoute leads nowhere")


@pytest.fixture(scope="module")
def breakers(edge: Edge, authorities: dict[str, Path]) -> Edge:
    """The edge with rules of circuit breaking for two of its services."""
    edge.mesh.said("apply", "-f", str(MANIFESTS / "resilience.yaml"))
    shop = authorities["shop"]
    wait_until(
        lambda: edge.answer("/delay/0", host="shop.example", port=443, ca=shop)[0] == 200, 10, "its routes"
    )
    return edge


def test_a_host_that_fails_is_put_aside_and_tried_again(breakers: Edge, authorities: dict[str, Path]) -> None:
    failures = [time.monotonic()]

    def status() -> int:
        found = breakers.answer("/flaky", host="shop.example", port=443, ca=authorities["shop"])[0]
        if found == 503:
            failures.append(time.monotonic())
        return found

    wait_until(lambda: {status() for _ in range(20)} == {200}, 10, "the bad one is put aside")
    wait_until(lambda: status() == 503, 15, "it is tried again")
    # On a busy machine the twenty requests take most of the four seconds: they began with the failure before them.
    assert failures[-1] - failures[-2] > 1, "it was put aside for four seconds"
    wait_until(lambda: {status() for _ in range(20)} == {200}, 10, "it is put aside again")


def test_more_requests_at_once_than_a_pool_takes_are_refused(
    breakers: Edge, authorities: dict[str, Path]
) -> None:
    def ask(_: int) -> tuple[int, dict[str, str]]:
        status, _text, headers = breakers.answer(
            "/delay/1", host="shop.example", port=443, ca=authorities["shop"]
        )
        return status, headers

    assert [ask(0)[0], ask(0)[0]] == [200, 200], "one after another they pass"
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    counted = Counter(status for status, _ in found)
    assert counted.keys() == {200, 503}, counted
    # One on the connection and one waiting: the first may end before the last is sent.
    assert 2 <= counted[200] <= 4, counted
    assert all("x-envoy-overloaded" in headers for status, headers in found if status == 503)
