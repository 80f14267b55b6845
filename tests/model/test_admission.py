"""Rules beyond the schema: one case each that breaks it, beside one that does not."""

import copy
from typing import Any

import pytest
import yaml

from hauberk.model import kinds
from hauberk.model.acceptance import accept
from hauberk.model.kind import FieldError

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: host
    ports: [{name: http, containerPort: 80}]
    env: [{name: A, value: b}]
    volumeMounts: [{name: data, mountPath: /data}]
    livenessProbe: {httpGet: {port: http}}
    resources: {requests: {cpu: 100m}, limits: {cpu: 1}}
  volumes: [{name: data, emptyDir: {}}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: host}]}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: grpc, port: 90}]}
"""
VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web]
  http:
  - match: [{uri: {prefix: /a}}]
    timeout: 1s
    retries: {attempts: 2, retryOn: "5xx"}
    fault: {abort: {httpStatus: 500}}
    route: [{destination: {host: web, subset: v1}, weight: 50}, {destination: {host: web}, weight: 50}]
"""
DESTINATION_RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1s}}, loadBalancer: {simple: RANDOM}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
"""
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: web}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example], tls: {credentialName: a}}]
"""
SERVICE_ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web}
spec:
  hosts: [a.example]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web}
spec:
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/a/sa/b], ipBlocks: [10.0.0.0/8]}}]
    to: [{operation: {paths: [/a/*], ports: ["80"], methods: [GET]}}]
    when: [{key: "request.headers[x]", values: [a]}]
"""
PEER = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, portLevelMtls: {"80": {mode: DISABLE}}}
"""
TELEMETRY = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  accessLogging: [{providers: [{name: requests}], match: {mode: SERVER}}]
  tracing: [{randomSamplingPercentage: 50, customTags: {a: {literal: {value: x}}}}]
"""
MESH_CONFIG = """
apiVersion: hauberk.io/v1
kind: MeshConfig
metadata: {name: default}
spec:
  extensionProviders:
  - {name: a, envoyHttpAls: {service: a.b.svc, port: 90}}
  - {name: b, envoyFileAccessLog: {logFormat: {text: "x"}}}
  - {name: c, envoyExtAuthzGrpc: {service: c.b.svc, port: 90, timeout: 1s, statusOnError: "503"}}
  - name: d
    envoyExtAuthzHttp:
      service: d.b.svc
      port: 80
      pathPrefix: /check
      includeRequestHeadersInCheck: [x-*]
      includeAdditionalHeadersInCheck: {x-a: b}
      includeRequestBodyInCheck: {maxRequestBytes: 100}
"""
RATE_LIMIT = """
apiVersion: hauberk.io/v1
kind: RateLimit
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  service: {service: limits.bank.svc, port: 8081, timeout: 20ms, failureMode: Deny}
  rules:
  - name: all
    match: {paths: [/pay*], methods: [POST]}
    by: [{header: x-user}, {attribute: caller}]
    local: {requests: 10, per: 1s, burst: 20}
  - {name: everywhere, global: {domain: bank}}
"""
PROCESSOR = """
apiVersion: hauberk.io/v1
kind: ExternalProcessor
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  service: {service: scan.bank.svc, port: 9001, timeout: 20ms, failureMode: Deny}
  request: {headers: Skip, body: Buffered}
  response: {headers: Skip}
"""
HTTP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  rules:
  - matches: [{path: {type: PathPrefix, value: /a}}]
    filters:
    - {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}
    timeouts: {request: 1s}
    backendRefs: [{name: web, port: 80}]
"""
JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: web}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: web, image: host}]}}}
"""
LEASE = """
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: web}
spec: {leaseDurationSeconds: 40}
"""
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: "system:a"}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
"""
NETWORK_POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from: [{podSelector: {matchLabels: {app: web}}, namespaceSelector: {}}]
    ports: [{port: http}, {port: 80, endPort: 90, protocol: UDP}]
  egress:
  - to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}]
"""

BASES = [
    POD,
    NETWORK_POLICY,
    DEPLOYMENT,
    SERVICE,
    VIRTUAL_SERVICE,
    DESTINATION_RULE,
    GATEWAY,
    SERVICE_ENTRY,
    POLICY,
    PEER,
    HTTP_ROUTE,
    JOB,
    LEASE,
    ROLE,
]


def check(text: str, old: dict[str, Any] | None = None) -> list[FieldError]:
    obj = yaml.safe_load(text)
    kind = kinds.by_gvk(obj["apiVersion"], obj["kind"])
    assert kind is not None
    return accept(kind, obj, old)


@pytest.mark.parametrize("text", BASES, ids=lambda text: yaml.safe_load(text)["kind"])
def test_right_objects_are_accepted(text: str) -> None:
    assert check(text) == []


@pytest.mark.parametrize(
    ("base", "before", "after", "field"),
    [
        (POD, "name: web, labels", "name: Web_1, labels", "metadata.name"),
        (POD, "{app: web}", "{'a b': web}", "metadata.labels[a b]"),
        (POD, "{app: web}", "{app: 'w b'}", "metadata.labels[app]"),
        (POD, "    image: host\n", "", "spec.containers[0].image"),
        (POD, "name: http, ", "name: port_1, ", "spec.containers[0].ports[0].name"),
        (POD, "name: data, mountPath", "name: other, mountPath", "spec.containers[0].volumeMounts[0].name"),
        (POD, "mountPath: /data", "mountPath: data", "spec.containers[0].volumeMounts[0].mountPath"),
        (POD, "emptyDir: {}", "emptyDir: {}, secret: {secretName: x}", "spec.volumes[0]"),
        (POD, "{httpGet: {port: http}}", "{}", "spec.containers[0].livenessProbe"),
        (POD, "{port: http}", "{port: '80'}", "spec.containers[0].livenessProbe.httpGet.port"),
        (
            POD,
            "{port: http}}",
            "{port: 80}, successThreshold: 2}",
            "spec.containers[0].livenessProbe.successThreshold",
        ),
        (POD, "limits: {cpu: 1}", "limits: {cpu: 50m}", "spec.containers[0].resources.requests[cpu]"),
        (
            POD,
            "value: b",
            "value: b, valueFrom: {fieldRef: {fieldPath: a}}",
            "spec.containers[0].env[0].valueFrom",
        ),
        (DEPLOYMENT, "labels: {app: web}", "labels: {app: other}", "spec.template.metadata.labels"),
        (
            DEPLOYMENT,
            "spec: {containers",
            "spec: {restartPolicy: Never, containers",
            "spec.template.spec.restartPolicy",
        ),
        (DEPLOYMENT, "matchLabels: {app: web}", "matchLabels: {}", "spec.selector"),
        (
            DEPLOYMENT,
            "spec:\n  selector",
            "spec:\n  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}\n  selector",
            "spec.strategy.rollingUpdate.maxUnavailable",
        ),
        (SERVICE, "name: web", "name: 1web", "metadata.name"),
        (SERVICE, "name: grpc", "name: http", "spec.ports[1].name"),
        (SERVICE, "{name: grpc, ", "{", "spec.ports[1].name"),
        (SERVICE, "port: 90", "port: 80", "spec.ports[1].port"),
        (
            SERVICE,
            "ports: [{name: http, port: 80}, {name: grpc, port: 90}]",
            "type: ExternalName",
            "spec.externalName",
        ),
        (VIRTUAL_SERVICE, "hosts: [web]", "hosts: ['w e b']", "spec.hosts[0]"),
        (
            VIRTUAL_SERVICE,
            "  http:",
            "  tls:\n"
            "  - match: [{sniHosts: [WEB, web.bank.example]}]\n"
            "    route: [{destination: {host: web}}]\n"
            "  http:",
            "spec.tls[0].match[0].sniHosts[1]",
        ),
        (VIRTUAL_SERVICE, "{prefix: /a}", "{prefix: /a, exact: /b}", "spec.http[0].match[0].uri"),
        (VIRTUAL_SERVICE, "{prefix: /a}", "{regex: '('}", "spec.http[0].match[0].uri.regex"),
        (VIRTUAL_SERVICE, "{prefix: /a}", "{regex: 'a(?=b)'}", "spec.http[0].match[0].uri.regex"),
        (VIRTUAL_SERVICE, "timeout: 1s", "timeout: 1", "spec.http[0].timeout"),
        (VIRTUAL_SERVICE, "timeout: 1s", "timeout: soon", "spec.http[0].timeout"),
        (VIRTUAL_SERVICE, '"5xx"', '"sometimes"', "spec.http[0].retries.retryOn"),
        (VIRTUAL_SERVICE, "{httpStatus: 500}", "{}", "spec.http[0].fault.abort"),
        (VIRTUAL_SERVICE, "    route: ", "    redirect: {uri: /}\n    route: ", "spec.http[0]"),
        (VIRTUAL_SERVICE, "subset: v1", "subset: V_1", "spec.http[0].route[0].destination.subset"),
        (DESTINATION_RULE, "name: v2", "name: v1", "spec.subsets[1].name"),
        (
            DESTINATION_RULE,
            "connectTimeout: 1s",
            "connectTimeout: 0s",
            "spec.trafficPolicy.connectionPool.tcp.connectTimeout",
        ),
        (
            DESTINATION_RULE,
            "{simple: RANDOM}",
            "{simple: RANDOM, consistentHash: {useSourceIp: true}}",
            "spec.trafficPolicy.loadBalancer",
        ),
        (GATEWAY, "protocol: HTTPS", "protocol: SPDY", "spec.servers[0].port.protocol"),
        (GATEWAY, "tls: {credentialName: a}", "tls: {}", "spec.servers[0].tls.credentialName"),
        (GATEWAY, "[a.example]", "[]", "spec.servers[0].hosts"),
        (SERVICE_ENTRY, "192.0.2.1", "a.example", "spec.endpoints[0].address"),
        (SERVICE_ENTRY, "  endpoints: [{address: 192.0.2.1}]\n", "", "spec.endpoints"),
        (SERVICE_ENTRY, "hosts: [a.example]", "hosts: []", "spec.hosts"),
        (
            POLICY,
            "cluster.local/ns/a",
            "spiffe://cluster.local/ns/a",
            "spec.rules[0].from[0].source.principals[0]",
        ),
        (POLICY, "cluster.local/ns/a/sa/b", "b", "spec.rules[0].from[0].source.principals[0]"),
        (POLICY, "10.0.0.0/8", "10.0.0.0/33", "spec.rules[0].from[0].source.ipBlocks[0]"),
        (POLICY, "/a/*", "/a/*/b", "spec.rules[0].to[0].operation.paths[0]"),
        (POLICY, '["80"]', '["http"]', "spec.rules[0].to[0].operation.ports[0]"),
        (POLICY, '"request.headers[x]"', '"request.header"', "spec.rules[0].when[0].key"),
        (POLICY, ", values: [a]", "", "spec.rules[0].when[0]"),
        (POLICY, "action: ALLOW", "action: CUSTOM", "spec.provider.name"),
        (PEER, "selector: {matchLabels: {app: web}}, ", "", "spec.selector"),
        (PEER, '"80"', '"http"', "spec.portLevelMtls[http]"),
        (TELEMETRY, "match:", "filter: {expression: 'true'}, match:", "spec.accessLogging[0].filter"),
        (
            TELEMETRY,
            "  selector:",
            "  targetRefs: [{kind: Gateway, name: a}]\n  selector:",
            "spec.targetRefs",
        ),
        (TELEMETRY, "Percentage: 50", "Percentage: 101", "spec.tracing[0].randomSamplingPercentage"),
        (
            TELEMETRY,
            "literal: {value: x}",
            "environment: {name: X}",
            "spec.tracing[0].customTags[a].environment",
        ),
        (TELEMETRY, "literal: {value: x}", "", "spec.tracing[0].customTags[a]"),
        (MESH_CONFIG, "name: default", "name: other", "metadata.name"),
        (MESH_CONFIG, "name: b", "name: a", "spec.extensionProviders[1].name"),
        (MESH_CONFIG, "name: b", "name: envoy", "spec.extensionProviders[1].name"),
        (MESH_CONFIG, "envoyHttpAls: {service: a.b.svc, port: 90}", "", "spec.extensionProviders[0]"),
        (MESH_CONFIG, "timeout: 1s", "timeout: 0s", "spec.extensionProviders[2].envoyExtAuthzGrpc.timeout"),
        (MESH_CONFIG, '"503"', '"418"', "spec.extensionProviders[2].envoyExtAuthzGrpc.statusOnError"),
        (MESH_CONFIG, "/check", "check", "spec.extensionProviders[3].envoyExtAuthzHttp.pathPrefix"),
        (
            MESH_CONFIG,
            "[x-*]",
            "['x:y']",
            "spec.extensionProviders[3].envoyExtAuthzHttp.includeRequestHeadersInCheck[0]",
        ),
        (
            MESH_CONFIG,
            "{x-a: b}",
            '{x-a: "b\\n"}',
            "spec.extensionProviders[3].envoyExtAuthzHttp.includeAdditionalHeadersInCheck[x-a]",
        ),
        (PROCESSOR, "timeout: 20ms", "timeout: 0s", "spec.service.timeout"),
        (PROCESSOR, ", body: Buffered", "", "spec.request"),
        (PROCESSOR, "app: web", "'a b': web", "spec.selector.matchLabels[a b]"),
        (RATE_LIMIT, "name: everywhere", "name: all", "spec.rules[1].name"),
        (RATE_LIMIT, "global: {domain: bank}", "", "spec.rules[1]"),
        (RATE_LIMIT, "local: {", "global: {domain: a}, local: {".replace(", ", "\n    "), "spec.rules[0]"),
        (RATE_LIMIT, "per: 1s", "per: 1ms", "spec.rules[0].local.per"),
        (RATE_LIMIT, "/pay*", "/p*y", "spec.rules[0].match.paths[0]"),
        (RATE_LIMIT, "{paths: [/pay*], methods: [POST]}", "{}", "spec.rules[0].match"),
        (RATE_LIMIT, "{header: x-user}", "{}", "spec.rules[0].by[0]"),
        (RATE_LIMIT, "header: x-user", "header: 'x:y'", "spec.rules[0].by[0].header"),
        (RATE_LIMIT, "{header: x-user}", "{attribute: caller}", "spec.rules[0].by[1]"),
        (RATE_LIMIT, "timeout: 20ms", "timeout: 0s", "spec.service.timeout"),
        (
            RATE_LIMIT,
            "service: {service: limits.bank.svc, port: 8081, timeout: 20ms, failureMode: Deny}",
            "",
            "spec.service",
        ),
        (MESH_CONFIG, 'text: "x"', "", "spec.extensionProviders[1].envoyFileAccessLog.logFormat"),
        (HTTP_ROUTE, "value: /a", "value: a", "spec.rules[0].matches[0].path.value"),
        (HTTP_ROUTE, "PathPrefix", "Exact", "spec.rules[0].filters[0].path.type"),
        (
            HTTP_ROUTE,
            "    timeouts:",
            "    - {type: URLRewrite, urlRewrite: {hostname: web.example}}\n    timeouts:",
            "spec.rules[0].filters[1]",
        ),
        (HTTP_ROUTE, "type: URLRewrite", "type: RequestMirror", "spec.rules[0].filters[0].urlRewrite"),
        (HTTP_ROUTE, "request: 1s", "request: 1.5s", "spec.rules[0].timeouts.request"),
        (HTTP_ROUTE, ", port: 80", "", "spec.rules[0].backendRefs[0].port"),
        (JOB, "restartPolicy: Never, ", "", "spec.template.spec.restartPolicy"),
        (NETWORK_POLICY, "{app: db}", "{'a b': db}", "spec.podSelector.matchLabels[a b]"),
        (NETWORK_POLICY, "port: 80, ", "", "spec.ingress[0].ports[1].endPort"),
        (NETWORK_POLICY, "endPort: 90", "endPort: 79", "spec.ingress[0].ports[1].endPort"),
        (NETWORK_POLICY, "endPort: 90", "endPort: 65536", "spec.ingress[0].ports[1].endPort"),
        (NETWORK_POLICY, "port: http", "port: '80'", "spec.ingress[0].ports[0].port"),
        (NETWORK_POLICY, "10.0.0.0/8", "10.0.0.0.0/8", "spec.egress[0].to[0].ipBlock.cidr"),
        (NETWORK_POLICY, "10.1.0.0/16", "11.1.0.0/16", "spec.egress[0].to[0].ipBlock.except[0]"),
        (NETWORK_POLICY, "10.1.0.0/16", "10.0.0.0/8", "spec.egress[0].to[0].ipBlock.except[0]"),
        (NETWORK_POLICY, "10.1.0.0/16", "'fd00::/16'", "spec.egress[0].to[0].ipBlock.except[0]"),
        (NETWORK_POLICY, "[{ipBlock:", "[{podSelector: {}, ipBlock:", "spec.egress[0].to[0].podSelector"),
        (NETWORK_POLICY, "[{ipBlock:", "[{}, {ipBlock:", "spec.egress[0].to[0]"),
        (NETWORK_POLICY, "Ingress, ", "In, ", "spec.policyTypes[0]"),
        (ROLE, "verbs: [get]", "verbs: []", "rules[0].verbs"),
    ],
)
def test_wrong_objects_are_refused_at_the_field(base: str, before: str, after: str, field: str) -> None:
    assert before in base
    found = check(base.replace(before, after, 1))
    assert field in {error.field for error in found}, found


@pytest.mark.parametrize(
    ("uri", "right"),
    [
        ("https://a.example/keys?a=b@c", True),
        ("https://192.0.2.1:8443/keys", True),
        ("https://[2001:db8::1]/keys", True),
        ("https://a..b/", False),
        ("https://.com/", False),
        (f"https://{'a' * 64}.com/", False),
        ("https://user:p@a.example/", False),
        ("https://a.example:99999/", False),
        ("https://[::1/", False),
        ("https:///keys", False),
    ],
)
def test_a_key_set_is_at_the_address_of_a_host(uri: str, right: bool) -> None:
    rules = [{"issuer": "a", "jwksUri": uri}]
    obj = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "a"},
        "spec": {"jwtRules": rules},
    }
    found = accept(kinds.by_gvk(obj["apiVersion"], obj["kind"]), obj)
    assert [error.field for error in found] == ([] if right else ["spec.jwtRules[0].jwksUri"])


@pytest.mark.parametrize("number", [2**31, -(2**31), -1])
@pytest.mark.parametrize(
    ("base", "field"),
    [
        (POD, "spec.terminationGracePeriodSeconds"),
        (POD, "spec.activeDeadlineSeconds"),
        (POD, "spec.securityContext.runAsUser"),
        (POD, "spec.securityContext.fsGroup"),
        (POD, "spec.containers[0].livenessProbe.periodSeconds"),
        (POD, "spec.containers[0].livenessProbe.timeoutSeconds"),
        (POD, "spec.containers[0].livenessProbe.initialDelaySeconds"),
        (POD, "spec.containers[0].livenessProbe.terminationGracePeriodSeconds"),
        (POD, "spec.volumes[0].secret.defaultMode"),
        (DEPLOYMENT, "spec.replicas"),
        (DEPLOYMENT, "spec.minReadySeconds"),
        (DEPLOYMENT, "spec.progressDeadlineSeconds"),
        (DEPLOYMENT, "spec.revisionHistoryLimit"),
        (JOB, "spec.backoffLimit"),
        (JOB, "spec.parallelism"),
        (JOB, "spec.completions"),
        (JOB, "spec.activeDeadlineSeconds"),
        (JOB, "spec.ttlSecondsAfterFinished"),
        (LEASE, "spec.leaseDurationSeconds"),
    ],
)
def test_numbers_have_bounds(base: str, field: str, number: int) -> None:
    obj = yaml.safe_load(base)
    at: Any = obj
    *names, last = field.replace("[0]", ".0").split(".")
    for name in names:
        at = at[int(name)] if name.isdecimal() else at.setdefault(name, {})
    at[last] = number
    kind = kinds.by_gvk(obj["apiVersion"], obj["kind"])
    assert kind is not None
    found = accept(kind, obj)
    assert field in {error.field for error in found}, found


@pytest.mark.parametrize(
    ("base", "before", "after", "field"),
    [
        (DEPLOYMENT, "{app: web}", "{app: other}", "spec.selector"),
        (POD, "/data", "/other", "spec"),
        (JOB, "name: web, image", "name: other, image", "spec.template"),
    ],
)
def test_what_must_stay_cannot_be_changed(base: str, before: str, after: str, field: str) -> None:
    stored = yaml.safe_load(base)
    kind = kinds.by_gvk(stored["apiVersion"], stored["kind"])
    assert kind is not None
    assert accept(kind, stored) == []
    assert check(base, stored) == []
    found = check(base.replace(before, after), stored)
    assert [error.field for error in found if error.reason == "FieldValueForbidden"] == [field]


def test_a_pod_can_be_bound_once_and_its_image_changed() -> None:
    stored = yaml.safe_load(POD)
    assert accept(kinds.POD, stored) == []
    bound = copy.deepcopy(stored)
    bound["spec"]["nodeName"] = "n1"
    bound["spec"]["containers"][0]["image"] = "other"
    assert accept(kinds.POD, copy.deepcopy(bound), stored) == []
    moved = copy.deepcopy(bound)
    moved["spec"]["nodeName"] = "n2"
    assert [error.field for error in accept(kinds.POD, moved, bound)] == ["spec"]
