"""Each rule of the analysis: a case that breaks it, and the same case mended."""

import datetime
import json
from base64 import b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hauberk.model import kinds
from hauberk.model.analysis.catalogue import CATALOGUE
from hauberk.model.analysis.report import Report, analyze_files, analyze_objects
from hauberk.model.analysis.world import Context
from hauberk.model.manifest import Located, parse_manifest

BASE = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: bank}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: bank}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: bank}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      serviceAccountName: web
      containers:
      - name: web
        image: host
        ports: [{name: http, containerPort: 8080}, {name: db, containerPort: 5432}, {name: rpc, containerPort: 9000}]
        envFrom: [{configMapRef: {name: settings}}]
        readinessProbe: {httpGet: {port: http}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: bank}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: bank}
spec: {selector: {app: web}, ports: [{name: tcp-db, port: 5432, targetPort: db}]}
---
apiVersion: v1
kind: Service
metadata: {name: rpc, namespace: bank}
spec: {selector: {app: web}, ports: [{name: grpc, port: 9000, targetPort: rpc}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: bank}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: tcp-db, port: 5432, targetPort: db}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: bank}
spec: {host: web, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: bank}
spec:
  selector: {app: web}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: door, namespace: bank}
spec: {gatewayClassName: hauberk, listeners: [{name: http, port: 80, protocol: HTTP}]}
"""


def virtual_service(http: str, *, rest: str = "", name: str = "web") -> str:
    head = f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: bank}}\n"
    return f"{head}spec: {{hosts: [web], {rest} http: [{http}]}}"


def policy(rule: str, *, selector: str = "app: web") -> str:
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: web, namespace: bank}\n"
    return f"{head}spec: {{selector: {{matchLabels: {{{selector}}}}}, rules: [{rule}]}}"


def route(parent: str, backend: str, namespace: str = "bank") -> str:
    head = f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, namespace: {namespace}}}\n"
    return f"{head}spec: {{parentRefs: [{parent}], rules: [{{backendRefs: [{backend}]}}]}}"


def other(kind: str, spec: str, *, api: str = "networking.istio.io/v1", name: str = "x") -> str:
    return f"apiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}, namespace: bank}}\nspec: {spec}"


def gateway(port: str, *, selector: str = "app: web", rest: str = "") -> str:
    server = f"{{port: {{number: {port}}}, hosts: [a.b]{rest}}}"
    return other("Gateway", f"{{selector: {{{selector}}}, servers: [{server}]}}")


def pod(container: str, *, spec: str = "") -> str:
    head = "apiVersion: v1\nkind: Pod\nmetadata: {name: x, namespace: bank}\n"
    return f"{head}spec: {{{spec} containers: [{{name: c, image: host, {container}}}]}}"


def tokens(keys: str) -> str:
    return other("RequestAuthentication", f"{{jwtRules: [{{issuer: a, {keys}}}]}}", api=SECURITY)


ED25519 = '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'


def secret(data: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: bank}}\ndata: {{{data}}}"


def _certificate() -> str:
    """A Secret that holds a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.b")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = (
        builder.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
    )
    chain = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return secret(f"tls.crt: {b64encode(chain).decode()}, tls.key: {b64encode(pem).decode()}")


def door(class_name: str, namespace: str = "bank", tls: str = "") -> str:
    head = f"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: d, namespace: {namespace}}}\n"
    listener = f"{{name: x, port: 443, protocol: {'HTTPS' if tls else 'TCP'}{tls}}}"
    return f"{head}spec: {{gatewayClassName: {class_name}, listeners: [{listener}]}}"


CERTIFICATE = _certificate()
SECURE = door("hauberk", "shop", ", tls: {certificateRefs: [{name: cert, namespace: bank}]}")
SECRET_GRANT = other(
    "ReferenceGrant",
    "{from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: shop}], to: [{group: '', kind: Secret}]}",
    api="gateway.networking.k8s.io/v1",
)


def telemetry(spec: str) -> str:
    """A Telemetry, and the MeshConfig whose providers it may name."""
    provider = "{name: spans, opentelemetry: {service: rpc.bank.svc, port: 9000}}"
    head = "apiVersion: hauberk.io/v1\nkind: MeshConfig\nmetadata: {name: default}\n"
    config = f"{head}spec: {{extensionProviders: [{provider}]}}"
    spec = spec if spec.startswith("{") else f"{{{spec}}}"
    return f"{config}\n---\n{other('Telemetry', spec, api='telemetry.istio.io/v1')}"


def custom(provider: str, authorizer: str) -> str:
    """A CUSTOM policy of one authorizer, and the MeshConfig with another."""
    head = "apiVersion: hauberk.io/v1\nkind: MeshConfig\nmetadata: {name: default}\n"
    config = f"{head}spec: {{extensionProviders: [{{name: asker, {authorizer}}}]}}"
    spec = f"{{action: CUSTOM, provider: {{name: {provider}}}, rules: [{{}}]}}"
    return f"{config}\n---\n{other('AuthorizationPolicy', spec, api='security.istio.io/v1')}"


OVER_GRPC = "envoyExtAuthzGrpc: {service: rpc.bank.svc, port: 9000}"
OVER_HTTP = "envoyExtAuthzHttp: {service: web.bank.svc, port: 80}"
UNLOGGED = other("Telemetry", "{accessLogging: [{disabled: true}]}", api="telemetry.istio.io/v1")
TO_WEB = "{destination: {host: web}}"
SECURITY = "security.istio.io/v1"
WEB_STRICT = other("PeerAuthentication", "{mtls: {mode: STRICT}}", api=SECURITY)
PLAIN = "{{host: web, trafficPolicy: {{tls: {{mode: {0}}}}}}}"
GRANT = other(
    "ReferenceGrant",
    "{from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: elsewhere}],"
    " to: [{group: '', kind: Service}]}",
    api="gateway.networking.k8s.io/v1",
)
TLS = gateway("443, name: a, protocol: HTTPS", rest=", tls: {credentialName: cert}")
FOREIGN = route("{name: door, namespace: bank}", "{name: web, namespace: bank, port: 80}", "elsewhere")

CASES = [
    (
        "HBK0101",
        virtual_service("{route: [{destination: {host: wep}}]}"),
        virtual_service(f"{{route: [{TO_WEB}]}}"),
    ),
    (
        "HBK0102",
        virtual_service("{route: [{destination: {host: web, subset: v9}}]}"),
        virtual_service("{route: [{destination: {host: web.bank.svc.cluster.local, subset: v1}}]}"),
    ),
    (
        "HBK0103",
        virtual_service("{route: [{destination: {host: web, port: {number: 81}}}]}"),
        virtual_service("{route: [{destination: {host: web, port: {number: 80}}}]}"),
    ),
    (
        "HBK0104",
        virtual_service(
            "{route: [{destination: {host: web}, weight: 50}, {destination: {host: web, subset: v1}, weight: 40}]}"
        ),
        virtual_service(
            "{route: [{destination: {host: web}, weight: 60}, {destination: {host: web, subset: v1}, weight: 40}]}"
        ),
    ),
    (
        "HBK0105",
        other("DestinationRule", "{host: two, subsets: [{name: a, labels: {version: v7}}]}"),
        other("DestinationRule", "{host: two, subsets: [{name: a, labels: {version: v1}}]}"),
    ),
    ("HBK0106", other("DestinationRule", "{host: nobody}"), other("DestinationRule", "{host: two.bank}")),
    (
        "HBK0107",
        virtual_service(f"{{route: [{TO_WEB}]}}")
        + "\n---\n"
        + virtual_service(f"{{route: [{TO_WEB}]}}", name="w2"),
        virtual_service(f"{{route: [{TO_WEB}]}}")
        + "\n---\n"
        + virtual_service(f"{{route: [{TO_WEB}]}}", name="w2", rest="gateways: [edge],"),
    ),
    (
        "HBK0108",
        virtual_service(
            f"{{match: [{{uri: {{prefix: /a}}}}], route: [{TO_WEB}]}},"
            f"{{match: [{{uri: {{exact: /a/b}}}}], route: [{TO_WEB}]}}"
        ),
        virtual_service(
            f"{{match: [{{uri: {{exact: /a/b}}}}], route: [{TO_WEB}]}},"
            f"{{match: [{{uri: {{prefix: /a}}}}], route: [{TO_WEB}]}}"
        ),
    ),
    (
        "HBK0109",
        virtual_service(f"{{timeout: 1s, retries: {{attempts: 2, perTryTimeout: 2s}}, route: [{TO_WEB}]}}"),
        virtual_service(f"{{timeout: 4s, retries: {{attempts: 2, perTryTimeout: 2s}}, route: [{TO_WEB}]}}"),
    ),
    (
        "HBK0110",
        other("VirtualService", "{hosts: [two], tcp: [{route: [{destination: {host: two}}]}]}"),
        other(
            "VirtualService",
            "{hosts: [two], tcp: [{route: [{destination: {host: two, port: {number: 5432}}}]}]}",
        ),
    ),
    (
        "HBK0111",
        virtual_service(f"{{route: [{TO_WEB}]}}", rest="gateways: [nowhere],"),
        virtual_service(f"{{route: [{TO_WEB}]}}", rest="gateways: [bank/edge, mesh],"),
    ),
    (
        "HBK0112",
        virtual_service("{route: [{destination: {host: db}}]}"),
        virtual_service("{route: [{destination: {host: rpc}}]}"),
    ),
    (
        "HBK0113",
        other("DestinationRule", "{host: web.bank}"),
        other("DestinationRule", "{host: two}"),
    ),
    (
        "HBK0201",
        gateway("1, name: a, protocol: HTTP", selector="a: b"),
        gateway("1, name: a, protocol: HTTP"),
    ),
    ("HBK0202", gateway("8080, name: a, protocol: TCP"), gateway("8080, name: a, protocol: HTTP")),
    ("HBK0203", TLS, f"{TLS}\n---\napiVersion: v1\nkind: Secret\nmetadata: {{name: cert, namespace: bank}}"),
    ("HBK0204", f"{TLS}\n---\n{secret('tls.crt: aGFsbG8=')}", f"{TLS}\n---\n{CERTIFICATE}"),
    ("HBK0310", tokens("jwks: '{}'"), tokens(f"jwks: '{ED25519}'")),
    ("HBK0311", tokens("jwksUri: http://a.b/keys"), tokens("jwksUri: https://a.b/keys")),
    ("HBK0301", policy("{}", selector="app: wep"), policy("{}")),
    (
        "HBK0302",
        policy("{from: [{source: {principals: [cluster.local/ns/bank/sa/wep]}}]}"),
        policy(
            "{from: [{source: {principals: [cluster.local/ns/bank/sa/web, cluster.local/ns/a/sa/default]}}]}"
        ),
    ),
    (
        "HBK0303",
        policy("{from: [{source: {principals: [example.org/ns/bank/sa/web]}}]}"),
        policy("{from: [{source: {principals: ['*/ns/bank/sa/web']}}]}"),
    ),
    (
        "HBK0304",
        policy("{from: [{source: {principals: [cluster.local/ns/bank/sa/web], namespaces: [other]}}]}"),
        policy("{from: [{source: {principals: [cluster.local/ns/bank/sa/web], namespaces: [ba*]}}]}"),
    ),
    (
        "HBK0305",
        policy("{to: [{operation: {ports: ['5432'], paths: [/a]}}]}"),
        policy("{to: [{operation: {ports: ['8080'], paths: [/a]}}]}"),
    ),
    (
        "HBK0306",
        policy("{to: [{operation: {ports: ['9000'], methods: [GET]}}]}"),
        policy("{to: [{operation: {ports: ['9000'], methods: [POST]}}]}"),
    ),
    (
        "HBK0307",
        WEB_STRICT
        + "\n---\n"
        + other("PeerAuthentication", "{mtls: {mode: DISABLE}}", api=SECURITY, name="y"),
        WEB_STRICT
        + "\n---\n"
        + other("PeerAuthentication", "{selector: {matchLabels: {app: web}}}", api=SECURITY, name="y"),
    ),
    (
        "HBK0308",
        WEB_STRICT + "\n---\n" + other("DestinationRule", PLAIN.format("DISABLE"), name="y"),
        WEB_STRICT + "\n---\n" + other("DestinationRule", PLAIN.format("ISTIO_MUTUAL"), name="y"),
    ),
    (
        "HBK0309",
        other("PeerAuthentication", "{selector: {matchLabels: {app: wep}}}", api=SECURITY),
        other("PeerAuthentication", "{selector: {matchLabels: {app: web}}}", api=SECURITY),
    ),
    (
        "HBK0401",
        other("Service", "{selector: {app: wep}, ports: [{name: http, port: 80}]}", api="v1"),
        other("Service", "{selector: {app: web}, ports: [{name: http, port: 80}]}", api="v1"),
    ),
    (
        "HBK0402",
        other("Service", "{selector: {app: web}, ports: [{name: main, port: 80}]}", api="v1"),
        other(
            "Service", "{selector: {app: web}, ports: [{name: main, port: 80, appProtocol: http}]}", api="v1"
        ),
    ),
    (
        "HBK0403",
        other(
            "Service", "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: htp}]}", api="v1"
        ),
        other(
            "Service", "{selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}", api="v1"
        ),
    ),
    (
        "HBK0501",
        pod("envFrom: [{secretRef: {name: nothing}}]"),
        pod("envFrom: [{secretRef: {name: nothing, optional: true}}]"),
    ),
    (
        "HBK0502",
        pod("ports: [{name: a, containerPort: 1}], livenessProbe: {tcpSocket: {port: b}}"),
        pod("ports: [{name: a, containerPort: 1}], livenessProbe: {tcpSocket: {port: a}}"),
    ),
    ("HBK0503", pod("").replace("image: host", "image: nginx"), pod("")),
    ("HBK0504", pod("", spec="hostNetwork: true,"), pod("", spec="hostNetwork: false,")),
    (
        "HBK0601",
        route("{name: door, sectionName: https}", "{name: web, port: 80}"),
        route("{name: door, sectionName: http}", "{name: web, port: 80}"),
    ),
    (
        "HBK0602",
        route("{name: door}", "{name: web, port: 8080}"),
        route("{name: door}", "{name: web, port: 80}"),
    ),
    (
        "HBK0701",
        telemetry("selector: {matchLabels: {app: none}}, accessLogging: [{disabled: true}]"),
        telemetry("selector: {matchLabels: {app: web}}, accessLogging: [{disabled: true}]"),
    ),
    (
        "HBK0702",
        telemetry("accessLogging: [{providers: [{name: spans}]}]"),
        telemetry("tracing: [{providers: [{name: spans}]}]"),
    ),
    ("HBK0703", f"{UNLOGGED}\n---\n{UNLOGGED.replace('name: x', 'name: y')}", UNLOGGED),
    (
        "HBK0704",
        telemetry("{}").replace("rpc.bank", "rcp.bank"),
        telemetry("{}"),
    ),
    (
        "HBK0705",
        telemetry("{}").replace("rpc.bank.svc, port: 9000", "web.bank.svc, port: 80"),
        telemetry("{}"),
    ),
    ("HBK0702", custom("nobody", OVER_GRPC), custom("asker", OVER_GRPC)),
    ("HBK0705", custom("asker", OVER_GRPC.replace("rpc.bank.svc, port: 9000", "web.bank.svc, port: 80")), ""),
    ("HBK0707", custom("asker", OVER_HTTP).replace("web.bank.svc, port: 80", "db.bank.svc, port: 5432"), ""),
    ("HBK0706", telemetry("metrics: [{providers: [{name: prometheus}]}]"), telemetry("{}")),
    ("HBK0603", FOREIGN, FOREIGN + "\n---\n" + GRANT),
    ("HBK0604", f"{SECURE}\n---\n{CERTIFICATE}", f"{SECURE}\n---\n{CERTIFICATE}\n---\n{SECRET_GRANT}"),
    ("HBK0605", door("shop"), door("istio")),
    ("HBK0008", BASE.split("---", maxsplit=1)[0], other("Sidecar", "{}")),
]


def analyzed(text: str) -> Report:
    return analyze_files({"base.yaml": BASE, "case.yaml": text})


def test_the_base_is_clean() -> None:
    report = analyze_files({"base.yaml": BASE})
    assert report.findings == ()
    assert report.exit_code(strict=True) == 0


@pytest.mark.parametrize(
    ("code", "wrong", "right"), CASES, ids=lambda value: value if value.startswith("HBK") else ""
)
def test_each_rule_finds_its_case_and_nothing_once_mended(code: str, wrong: str, right: str) -> None:
    report = analyzed(wrong)
    found = [finding for finding in report.findings if finding.code == code]
    assert found, report.render_text()
    assert all(finding.place.line for finding in found)
    assert {finding.place.file for finding in found} & {"case.yaml"}
    mended = analyzed(right)
    assert code not in {finding.code for finding in mended.findings}, mended.render_text()


def test_every_semantic_code_has_a_case() -> None:
    semantic = {code for code in CATALOGUE if code > "HBK0100"}
    assert semantic == {code for code, _, _ in CASES if code > "HBK0100"}


def test_findings_name_place_object_field_and_remedy() -> None:
    text = analyzed(virtual_service("{route: [{destination: {host: wep}}]}")).render_text()
    first, second, last = text.splitlines()
    assert first.startswith("case.yaml:4:")
    assert "error HBK0101 VirtualService bank/web spec.http[0].route[0].destination.host: " in first
    assert 'there is no service "wep"' in first
    assert second.strip() == CATALOGUE["HBK0101"].remedy
    assert last == "11 objects: 1 errors, 0 warnings"


def test_exit_codes() -> None:
    warning = analyzed(policy("{}", selector="app: wep"))
    error = analyzed(pod("", spec="hostPID: true,"))
    assert (warning.exit_code(), warning.exit_code(strict=True)) == (0, 1)
    assert (error.exit_code(), error.exit_code(strict=True)) == (2, 2)


def test_the_report_is_json() -> None:
    report = json.loads(json.dumps(analyzed(pod("", spec="hostPID: true,")).to_json()))
    assert report["errors"] == 1
    assert report["findings"][0]["code"] == "HBK0504"
    assert report["findings"][0]["file"] == "case.yaml"


def test_unreadable_files_are_part_of_the_report() -> None:
    report = analyze_files({"a.yaml": "a: [", "b.yaml": BASE})
    assert [finding.code for finding in report.findings] == ["HBK0001"]
    assert report.exit_code() == 2


def test_objects_of_the_api_have_no_place_but_a_name() -> None:
    obj = parse_manifest(pod("", spec="hostIPC: true,"), "x")[0].object
    text = analyze_objects([Located(kinds.POD, obj)]).render_text()
    assert text.startswith("error HBK0504 Pod bank/x spec.hostIPC: ")


def test_objects_beside_the_files_are_known_and_not_judged() -> None:
    stored = parse_manifest(f"{BASE}\n---\n{pod('', spec='hostIPC: true,')}", "x")
    beside = [Located(item.kind, item.object) for item in stored]
    report = analyze_files({"case.yaml": virtual_service(f"{{route: [{TO_WEB}]}}")}, beside=beside)
    assert report.findings == ()


def test_the_trust_domain_is_given() -> None:
    text = policy("{from: [{source: {principals: [example.org/ns/bank/sa/web]}}]}")
    report = analyze_files({"a.yaml": BASE, "b.yaml": text}, context=Context(trust_domain="example.org"))
    assert report.findings == ()
