"""AuthorizationPolicy in Envoy's words means what it means in Istio's."""

from typing import Any

import pytest
from envoy.extensions.filters.http.rbac.v3 import rbac_pb2 as http_rbac_pb2
from envoy.extensions.filters.network.rbac.v3 import rbac_pb2 as network_rbac_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_testing.objects import configuration
from mesh_testing.rbac import Call, envoy_allows, istio_allows

from hauberk.mesh.authorization import Authorization, authorize, select_authorization_policies
from hauberk.mesh.registry import SECURITY, Labels, Mesh, Registry


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def fields(**values: list[str]) -> st.SearchStrategy[dict[str, list[str]]]:
    named = {name: some(each) for name, each in values.items()}
    negated = {"not" + name[0].upper() + name[1:]: some(each) for name, each in values.items()}
    return st.fixed_dictionaries({}, optional=named | negated).filter(bool)


PRINCIPALS = ["cluster.local/ns/a/sa/x", "cluster.local/ns/b/sa/x", "cluster.local/ns/a/*", "*/sa/y", "*"]
SOURCE = fields(
    principals=PRINCIPALS,
    namespaces=["a", "b", "a*", "*b", "*"],
    serviceAccounts=["x", "a/x", "b/x"],
    ipBlocks=["10.0.0.0/24", "10.0.1.5", "0.0.0.0/0"],
    remoteIpBlocks=["10.0.0.0/24", "192.0.2.0/24"],
    requestPrincipals=["https://i/s", "https://i/*", "*/s", "*"],
)
OPERATION = fields(
    methods=["GET", "POST", "*"],
    paths=["/", "/a/*", "*/b", "/a.b", "/{*}/b", "/a/{**}", "/a/{*}", "*"],
    hosts=["web", "*.B", "*"],
    ports=["80", "81"],
)


@st.composite
def condition(draw: st.DrawFn) -> dict[str, Any]:
    key, values = draw(
        st.sampled_from(
            [
                ("request.headers[x]", ["1", "2*", "*"]),
                ("source.namespace", ["a", "b"]),
                ("source.principal", PRINCIPALS),
                ("source.ip", ["10.0.0.0/24", "10.0.1.5"]),
                ("destination.port", ["80", "81"]),
                ("destination.ip", ["10.66.0.0/24", "10.66.0.2"]),
                ("connection.sni", ["web", "*.b", "*"]),
                ("remote.ip", ["10.0.0.0/24", "192.0.2.7"]),
                ("source.serviceAccount", ["x", "b/x"]),
                ("request.auth.principal", ["https://i/s", "*"]),
                ("request.auth.audiences", ["one", "t*"]),
                ("request.auth.claims[g]", ["one", "t*", "*"]),
            ]
        )
    )
    positive = draw(st.booleans())
    made: dict[str, Any] = {"key": key, "values" if positive else "notValues": draw(some(values))}
    if positive and draw(st.booleans()):
        made["notValues"] = draw(some(values))
    return made


RULE = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(SOURCE.map(lambda one: {"source": one}), min_size=1, max_size=2),
        "to": st.lists(OPERATION.map(lambda one: {"operation": one}), min_size=1, max_size=2),
        "when": st.lists(condition(), min_size=1, max_size=2),
    },
)
POLICY = st.fixed_dictionaries(
    {"action": st.sampled_from(["ALLOW", "DENY", "AUDIT"])}, optional={"rules": st.lists(RULE, max_size=2)}
)
CALL = st.builds(
    Call,
    principal=st.sampled_from(
        ["", "cluster.local/ns/a/sa/x", "cluster.local/ns/a/sa/y", "cluster.local/ns/b/sa/x"]
    ),
    address=st.sampled_from(["10.0.0.7", "10.0.1.5"]),
    port=st.sampled_from([80, 81]),
    http=st.booleans(),
    method=st.sampled_from(["GET", "POST"]),
    path=st.sampled_from(["/", "/a/1", "/a/b", "/a.b", "/axb"]),
    host=st.sampled_from(["web", "WEB", "x.b"]),
    headers=st.sampled_from([{}, {"x": "1"}, {"x": "23"}]),
    remote=st.sampled_from(["10.0.0.7", "192.0.2.7"]),
    destination=st.sampled_from(["10.66.0.1", "10.66.0.2", "10.66.1.1"]),
    server_name=st.sampled_from(["", "web", "x.b"]),
    claims=st.sampled_from(
        [
            {},
            {"iss": "https://i", "sub": "s"},
            {"iss": "https://j", "sub": "s", "aud": "one", "g": ["two", "three"]},
            {"iss": "https://i", "sub": "t", "aud": ["one", "two"], "g": "one"},
        ]
    ),
)


def of(policies: list[dict[str, Any]]) -> Authorization:
    objects = [
        configuration("AuthorizationPolicy", f"p{index}", spec, "a") for index, spec in enumerate(policies)
    ]
    registry = Registry().update(objects)
    return authorize(registry.of_kind(SECURITY, "AuthorizationPolicy"), Mesh())


def decoded(authorization: Authorization, call: Call) -> list[Any]:
    if call.http:
        return [http_rbac_pb2.RBAC.FromString(one.typed_config.value) for one in authorization.http_filters()]
    return [
        network_rbac_pb2.RBAC.FromString(one.typed_config.value) for one in authorization.network_filters()
    ]


@settings(max_examples=1500, deadline=None)
@given(st.lists(POLICY, max_size=3), st.lists(CALL, min_size=1, max_size=8))
def test_translation(policies: list[dict[str, Any]], calls: list[Call]) -> None:
    authorization = of(policies)
    for call in calls:
        assert envoy_allows(decoded(authorization, call), call) is istio_allows(policies, call), call


@pytest.mark.parametrize("http", [True, False])
def test_a_policy_without_rules_refuses_everything(http: bool) -> None:
    call = Call(principal="cluster.local/ns/a/sa/x", http=http)
    assert not envoy_allows(decoded(of([{}]), call), call)
    assert envoy_allows(decoded(of([]), call), call)


def test_a_rule_without_sense_fails_closed() -> None:
    nonsense = [{"when": [{"key": "no.such.key", "values": ["1"]}]}]
    call = Call()
    for action in ("ALLOW", "DENY"):
        assert not envoy_allows(decoded(of([{"action": action, "rules": nonsense}]), call), call)


def test_a_call_that_somebody_else_should_decide_on_is_refused() -> None:
    custom = of([{"action": "CUSTOM", "rules": [{"to": [{"operation": {"paths": ["/asked"]}}]}]}])
    for path, allowed in (("/asked", False), ("/", True)):
        call = Call(path=path)
        assert envoy_allows(decoded(custom, call), call) is allowed


def test_which_policies_apply() -> None:
    def policy(name: str, namespace: str, **labels: str) -> dict[str, Any]:
        spec: dict[str, Any] = {"selector": {"matchLabels": labels}} if labels else {}
        return configuration("AuthorizationPolicy", name, spec, namespace)

    registry = Registry().update(
        [
            policy("mesh", "istio-system"),
            policy("namespace", "a"),
            policy("workload", "a", app="web"),
            policy("other", "a", app="db"),
            policy("elsewhere", "b"),
        ]
    )
    chosen = select_authorization_policies(
        registry.of_kind(SECURITY, "AuthorizationPolicy"), "a", Labels.of({"app": "web", "v": "1"}), Mesh()
    )
    assert sorted(one.name for one in chosen) == ["mesh", "namespace", "workload"]


@pytest.mark.parametrize("http", [True, False])
def test_a_policy_in_dry_run_decides_nothing_and_stands_in_the_shadow_rules(http: bool) -> None:
    rules = [{"from": [{"source": {"namespaces": ["b"]}}]}]

    def dry(action: str, value: str = "true") -> dict[str, Any]:
        made = configuration(
            "AuthorizationPolicy", f"tried-{action.lower()}", {"action": action, "rules": rules}, "a"
        )
        made["metadata"]["annotations"] = {"istio.io/dry-run": value}
        return made

    def translated(*objects: dict[str, Any]) -> Authorization:
        policies = Registry().update(objects).of_kind(SECURITY, "AuthorizationPolicy")
        return authorize(policies, Mesh())

    call = Call(principal="cluster.local/ns/b/sa/x", http=http)
    tried = translated(dry("DENY"), dry("ALLOW"), dry("CUSTOM"), dry("AUDIT"))
    deny, allow = decoded(tried, call)
    assert (deny.shadow_rules_stat_prefix, allow.shadow_rules_stat_prefix) == (
        "istio_dry_run_deny_", "istio_dry_run_allow_"
    )  # fmt: skip
    assert list(deny.shadow_rules.policies) == ["ns[a]-policy[tried-deny]-rule[0]"]
    assert not deny.HasField("rules") and not allow.HasField("rules")
    assert envoy_allows([deny, allow], call)
    assert tried.revision != translated(dry("DENY", "false")).revision
    assert not envoy_allows(decoded(translated(dry("DENY", "false")), call), call)


def test_names_and_revision() -> None:
    rules = [{"from": [{"source": {"namespaces": ["b"]}}]}]
    authorization = of([{"rules": rules}])
    (one,) = decoded(authorization, Call())
    assert list(one.rules.policies) == ["ns[a]-policy[p0]-rule[0]"]
    assert authorization.revision == of([{"rules": rules}]).revision
    assert authorization.revision != of([{"rules": rules, "action": "DENY"}]).revision
