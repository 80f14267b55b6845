"""ServiceEntry, gateways with Secrets and RequestAuthentication in a running mesh, with curl as the client."""

import base64
import datetime
import json
import secrets
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from instance_testing.instance import TestInstance, wait_until

pytestmark = pytest.mark.root

GATEWAY = """
apiVersion: v1
kind: Pod
metadata:
  name: edge
  namespace: mesh
  labels: {gateway.networking.k8s.io/gateway-name: edge}
  annotations: {hauberk.io/gateway: "true"}
spec: {containers: [{name: istio-proxy, image: auto}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: mesh}
spec:
  gatewayClassName: hauberk
  listeners:
    - {name: https, port: 8443, protocol: HTTPS, hostname: web.example, tls: {certificateRefs: [{name: edge}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: mesh}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example]
  rules: [{backendRefs: [{name: web, port: 8000}]}]
"""


def applied(mesh: TestInstance, *objects: dict[str, Any]) -> None:
    mesh.said(
        "apply", "-f", "-", text=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    )


def entry(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8000}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": "mesh"},
        "spec": {"hosts": [f"{name}.example"], "ports": ports, **spec},
    }


def test_service_entries_are_called_by_name(mesh: TestInstance) -> None:
    address = mesh.pod("web")["status"]["podIP"]
    told = [{"address": address}]
    applied(
        mesh,
        entry("partner", resolution="STATIC", location="MESH_INTERNAL", endpoints=told),
        entry("outside", resolution="STATIC", location="MESH_EXTERNAL", endpoints=told),
        entry(
            "alias",
            resolution="DNS",
            location="MESH_INTERNAL",
            endpoints=[{"address": "web.mesh.svc.cluster.local"}],
        ),
        entry("internet", resolution="DNS"),
    )
    marker = secrets.token_hex(8)

    def status(host: str) -> str:
        done = mesh.hauberk(
            "exec", "-n", "mesh", "deploy/client", "--", "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w",
            "%{http_code} %{remote_ip}", "--data", marker, f"http://{host}/",
        )  # fmt: skip
        return done.stdout

    wait_until(lambda: status("partner.example").startswith("200 240.240."), 15, "partner.example answers")
    wait_until(lambda: status("alias.example").startswith("200 240.240."), 15, "alias.example answers")
    # The pod takes nothing in plain text, and nothing beyond the mesh can be reached.
    wait_until(lambda: status("outside.example").startswith("503"), 15, "plain text is refused")
    wait_until(lambda: status("internet.example").startswith("503"), 15, "the Internet is not there")
    assert status("unlisted.example").startswith("000")


def certificate(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made.public_bytes(Encoding.PEM), pem


def test_a_gateway_shows_the_certificate_of_its_secret(mesh: TestInstance, tmp_path: Path) -> None:
    def secret(pair: tuple[bytes, bytes]) -> dict[str, Any]:
        data = {"tls.crt": base64.b64encode(pair[0]).decode(), "tls.key": base64.b64encode(pair[1]).decode()}
        metadata = {"name": "edge", "namespace": "mesh"}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "kubernetes.io/tls",
            "data": data,
        }

    def condition(name: str) -> str:
        found = mesh.object("gateways.gateway.networking.k8s.io", "edge", "mesh").get("status") or {}
        return next((one["status"] for one in found.get("conditions") or () if one["type"] == name), "")

    mesh.said("apply", "-f", "-", text=GATEWAY)
    wait_until(lambda: condition("Programmed") == "False", 15, "without its Secret it is not programmed")
    for turn in ("first", "renewed"):
        pair = certificate("web.example")
        applied(mesh, secret(pair))
        wait_until(lambda: condition("Programmed") == "True", 30, "the Gateway is programmed")
        (tmp_path / "ca.pem").write_bytes(pair[0])
        found = mesh.object("gateways.gateway.networking.k8s.io", "edge", "mesh")
        told = f"web.example:8443:{found['status']['addresses'][0]['value']}"
        command = ["curl", "-sS", "-m", "5", "--cacert", str(tmp_path / "ca.pem"), "--data", turn]
        command += ["--resolve", told, "https://web.example:8443/"]
        wait_until(partial(answers, command, turn), 20, "curl trusts what the gateway shows")


def answers(command: list[str], text: str) -> bool:
    return text in subprocess.run(command, capture_output=True, text=True).stdout


def test_a_token_that_nobody_vouches_for_is_refused(mesh: TestInstance) -> None:
    key = ec.generate_private_key(ec.SECP256R1())

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    point = key.public_key().public_numbers()
    keys = {
        "keys": [
            {
                "kty": "EC",
                "crv": "P-256",
                "x": encoded(point.x.to_bytes(32)),
                "y": encoded(point.y.to_bytes(32)),
            }
        ]
    }
    rules = [{"issuer": "issuer.example", "jwks": json.dumps(keys)}]
    authentication: dict[str, Any] = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "tokens", "namespace": "mesh"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "jwtRules": rules},
    }
    applied(mesh, authentication)

    def status(*headers: str) -> str:
        told = [word for header in headers for word in ("-H", header)]
        return mesh.client("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *told, "http://web:8000/")

    try:
        token = f"{encoded(b'{}')}.{encoded(b'{}')}.AA"
        wait_until(lambda: status(f"authorization: Bearer {token}") == "401", 15, "a forged token is refused")
        assert status() == "200"
    finally:
        mesh.said("delete", "requestauthentication", "tokens", "-n", "mesh")
