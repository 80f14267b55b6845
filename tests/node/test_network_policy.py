"""What policies allow, rule by rule: networking.k8s.io/v1, "NetworkPolicySpec"."""

from ipaddress import ip_address
from typing import Any

import pytest

from hauberk.model.kubernetes.networking import NetworkPolicy
from hauberk.model.struct import parse
from hauberk.node import network_policy
from hauberk.node.network_policy import Isolation, Member, permitted

PODS = {
    "web": ("bank", {"app": "web"}, "10.0.0.1", {("TCP", "http"): 8080}),
    "db": (
        "bank",
        {"app": "db", "tier": "data"},
        "10.0.0.2",
        {("TCP", "http"): 9090, ("UDP", "names"): 5353},
    ),
    "spy": ("shop", {"app": "web"}, "10.0.0.3", {}),
    "six": ("shop", {"app": "six"}, "fd00::1", {}),
}
MEMBERS = [
    Member(namespace, name, labels, (ip_address(address),), ports)
    for name, (namespace, labels, address, ports) in PODS.items()
]
NAMESPACES = {"bank": {"team": "a"}, "shop": {"team": "b"}}


def policy(spec: dict[str, Any], namespace: str = "bank") -> NetworkPolicy:
    return parse(NetworkPolicy, {"metadata": {"name": "p", "namespace": namespace}, "spec": spec})


def allowed(*policies: NetworkPolicy, ports: tuple[tuple[str, int], ...] = (("TCP", 80),)) -> set[str]:
    """Every `source>target:port` between two of the three IPv4 pods that is allowed; the protocol if it is not TCP."""
    isolations: dict[Any, Isolation] = {
        member.addresses[0]: isolation
        for member, isolation in zip(
            MEMBERS, network_policy.isolate(policies, MEMBERS, NAMESPACES), strict=True
        )
    }
    at = {member.name: member.addresses[0] for member in MEMBERS if member.name != "six"}
    return {
        f"{source}>{target}:{port}" + ("" if protocol == "TCP" else f"/{protocol}")
        for source in at
        for target in at
        for protocol, port in ports
        if source != target and permitted(isolations, at[source], at[target], protocol, port)  # type: ignore[arg-type]
    }


ALL = {"web>db:80", "web>spy:80", "db>web:80", "db>spy:80", "spy>web:80", "spy>db:80"}
DB = {"podSelector": {"matchLabels": {"app": "db"}}}


def test_without_a_policy_everything_is_allowed() -> None:
    assert allowed() == ALL


@pytest.mark.parametrize(
    ("spec", "gone"),
    [
        ({"podSelector": {}}, {"spy>web:80", "spy>db:80", "web>db:80", "db>web:80"}),
        ({}, {"spy>web:80", "spy>db:80", "web>db:80", "db>web:80"}),
        (DB, {"spy>db:80", "web>db:80"}),
        ({**DB, "policyTypes": ["Egress"]}, {"db>spy:80", "db>web:80"}),
        ({**DB, "policyTypes": ["Ingress", "Egress"]}, {"spy>db:80", "web>db:80", "db>spy:80", "db>web:80"}),
        ({**DB, "ingress": [{}]}, set()),
        ({**DB, "egress": [{}]}, {"spy>db:80", "web>db:80"}),
        ({**DB, "policyTypes": ["Ingress"], "egress": []}, {"spy>db:80", "web>db:80"}),
        # A peer of pods alone is one of the policy's own namespace; one of namespaces alone is all of their pods.
        ({**DB, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]}, {"spy>db:80"}),
        ({**DB, "ingress": [{"from": [{"namespaceSelector": {}}]}]}, set()),
        ({**DB, "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "b"}}}]}]}, {"web>db:80"}),
        (
            {**DB, "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "six"}}}]}]},
            {"web>db:80", "spy>db:80"},
        ),
        ({**DB, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/30"}}]}]}, set()),
        (
            {**DB, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.3/32"]}}]}]},
            {"spy>db:80"},
        ),
        ({**DB, "ingress": [{"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}]}, {"spy>db:80", "web>db:80"}),
        ({**DB, "ingress": [{"from": [{"ipBlock": {"cidr": "nonsense"}}]}]}, {"spy>db:80", "web>db:80"}),
        ({**DB, "ingress": [{"from": [{}]}]}, {"spy>db:80", "web>db:80"}),
        (
            {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": [{"to": [DB]}]},
            {"web>spy:80"},
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}},
            {"spy>db:80", "web>db:80"},
        ),
    ],
)  # fmt: skip
def test_what_one_policy_takes_away(spec: dict[str, Any], gone: set[str]) -> None:
    assert allowed(policy(spec)) == ALL - gone


def test_policies_add_up_and_are_those_of_their_own_namespace() -> None:
    deny = policy({"podSelector": {}})
    permit = policy({**DB, "ingress": [{"from": [{"podSelector": {}}]}]})
    assert allowed(deny, permit) == ALL - {"spy>web:80", "spy>db:80", "db>web:80"}
    assert allowed(policy({"podSelector": {}}, "shop")) == ALL - {"web>spy:80", "db>spy:80"}


@pytest.mark.parametrize(
    ("ports", "open_"),
    [
        ([{"port": 80}], {"web>db:80"}),
        ([{"port": 80, "endPort": 81}], {"web>db:80", "web>db:81"}),
        ([{"port": "http"}], {"web>db:9090"}),
        ([{"port": "names", "protocol": "UDP"}], {"web>db:5353/UDP"}),
        ([{"port": "names"}], set()),
        ([{"protocol": "UDP"}], {"web>db:80/UDP", "web>db:5353/UDP"}),
        ([{"protocol": "SCTP", "port": 80}], set()),
        ([{}], {"web>db:80", "web>db:81", "web>db:9090"}),
        ([{"port": 81}, {"port": "http"}], {"web>db:81", "web>db:9090"}),
        ([], {"web>db:80", "web>db:81", "web>db:9090", "web>db:80/UDP", "web>db:5353/UDP"}),
    ],
)
@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_ports_are_those_of_the_pod_that_is_called(direction: str, ports: list[Any], open_: set[str]) -> None:
    if direction == "ingress":
        spec: dict[str, Any] = {**DB, "ingress": [{"ports": ports}]}
    else:
        spec = {
            "podSelector": {"matchLabels": {"app": "web"}},
            "egress": [{"ports": ports}],
            "policyTypes": ["Egress"],
        }
    tried = (("TCP", 80), ("TCP", 81), ("TCP", 9090), ("UDP", 80), ("UDP", 5353))
    assert {each for each in allowed(policy(spec), ports=tried) if each.startswith("web>db")} == open_


def test_a_pod_that_a_policy_selects_is_named_by_labels_and_namespace() -> None:
    assert network_policy.selects(policy(DB), "bank", {"app": "db"})
    assert not network_policy.selects(policy(DB), "shop", {"app": "db"})
    assert not network_policy.selects(policy(DB), "bank", {"app": "web"})
