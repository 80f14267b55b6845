"""Which workloads a policy of `security.istio.io` applies to: by its namespace, its selector or its `targetRefs`."""

from __future__ import annotations

from hauberk.mesh.gateway_listeners import GATEWAY_NAME_LABEL
from hauberk.mesh.registry import GATEWAY_API, Configuration, Labels, Mesh


def applies(policy: Configuration, namespace: str, labels: Labels, mesh: Mesh) -> bool:
    """Whether it applies to the pods with these labels in a namespace.

    `targetRefs` name Gateways of the Gateway API, in the policy's own namespace; other kinds of targets have no proxy
    of their own here, so that a policy for them applies to nobody. One whose selector cannot be read applies to all
    pods that it could have been for.
    """
    try:
        return _applies(policy, namespace, labels, mesh)
    except (TypeError, AttributeError, ValueError):
        return policy.namespace in (namespace, mesh.root_namespace)


def _applies(policy: Configuration, namespace: str, labels: Labels, mesh: Mesh) -> bool:
    targets = list(policy.spec.get("targetRefs") or ())
    if policy.spec.get("targetRef"):
        targets.append(policy.spec["targetRef"])
    if targets:
        return policy.namespace == namespace and any(
            one.get("group") == GATEWAY_API
            and one.get("kind") == "Gateway"
            and one.get("name") == labels.get(GATEWAY_NAME_LABEL)
            for one in targets
        )
    if policy.namespace not in (namespace, mesh.root_namespace):
        return False
    return Labels.of((policy.spec.get("selector") or {}).get("matchLabels")).matches(labels)
