"""`hauberk authz`: the pod that is meant, the policies that decide on it, and what they say."""

from typing import Any

import pytest

from hauberk.cli.policy_words import rows

Instance = Any
"""conftest's; a conftest cannot be imported by name here."""

DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: %(name)s, namespace: %(namespace)s}
spec:
  selector: {matchLabels: {app: %(name)s}}
  template:
    metadata: {labels: {app: %(name)s}}
    spec:
      serviceAccountName: %(account)s
      containers: [{name: main, image: host, command: [/bin/sleep, "60"]}]
---
"""
POLICY = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: %(name)s, namespace: %(namespace)s}
spec: {action: DENY, rules: [{}], %(spec)s}
---
"""


def test_the_workload_that_is_meant_and_its_policies(instance: Instance, namespace: str) -> None:
    gateway = "{group: gateway.networking.k8s.io, kind: Gateway, name: edge}"
    policies = {
        "admin-only": "selector: {matchLabels: {app: web-admin}}",
        "web-only": "selector: {matchLabels: {app: web}}",
        "everything": "",
        "edge-only": f"targetRefs: [{gateway}]",
    }
    objects = [
        DEPLOYMENT % {"name": name, "namespace": namespace, "account": account}
        for name, account in (("web-admin", "web"), ("web", "default"))
    ] + [POLICY % {"name": name, "namespace": namespace, "spec": spec} for name, spec in policies.items()]
    account = f"apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: web, namespace: {namespace}}}\n---\n"
    instance.hauberk("apply", "-f", "-", stdin=account + "".join(objects))
    for name in ("web-admin", "web"):
        instance.until(f"{name}-", "get", "pods", "-n", namespace, "-l", f"app={name}")

    def decide(name: str) -> set[str]:
        found = instance.hauberk("authz", f"{namespace}/{name}", "-o", "json").json
        return {one["metadata"]["name"] for one in found}

    assert decide("web") == {"web-only", "everything"}
    assert decide("web-admin") == {"admin-only", "everything"}
    (pod,) = instance.hauberk("get", "pods", "-n", namespace, "-l", "app=web-admin", "-o", "name").out.split()
    assert decide(pod.removeprefix("pod/")) == {"admin-only", "everything"}
    described = instance.hauberk("describe", "pod", pod.removeprefix("pod/"), "-n", namespace).out
    assert f"  identity: spiffe://cluster.local/ns/{namespace}/sa/web" in described
    assert f"    DENY   anybody → anything  ({namespace}/admin-only)" in described
    assert "web-only" not in described
    for nobody in ("default", "web-ad"):
        missing = instance.hauberk("authz", f"{namespace}/{nobody}", code=1)
        assert "expected a pod of it" in missing.err


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ({"values": ["bank"]}, "source.namespace in bank"),
        ({"notValues": ["evil", "odd"]}, "source.namespace not in evil,odd"),
        (
            {"values": ["b*"], "notValues": ["bad"]},
            "source.namespace in b* and source.namespace not in bad",
        ),
    ],
)
def test_a_condition_is_said_as_it_is(condition: dict[str, list[str]], said: str) -> None:
    policy = {
        "metadata": {"namespace": "bank", "name": "p"},
        "spec": {"rules": [{"when": [{"key": "source.namespace", **condition}]}]},
    }
    assert rows(policy) == [("bank/p", "ALLOW", "anybody", f"anything when {said}")]
