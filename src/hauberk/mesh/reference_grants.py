"""ReferenceGrant: whether an object may point at one of another namespace (Gateway API, "ReferenceGrant")."""

from __future__ import annotations

from hauberk.mesh.registry import GATEWAY_API, Configuration, Key, Registry


def granted(registry: Registry, source: Configuration, kind: str, target: Key) -> bool:
    """Whether a grant in the target's namespace lets `source` point at a core object (`kind`) there."""
    namespace, name = target
    for grant in registry.of_kind(GATEWAY_API, "ReferenceGrant"):
        if grant.namespace != namespace:
            continue
        comes = any(
            one.get("kind") == source.kind
            and one.get("group") == source.group
            and one.get("namespace") == source.namespace
            for one in grant.spec.get("from") or ()
        )
        goes = any(
            one.get("kind") == kind and not one.get("group") and one.get("name") in (None, name)
            for one in grant.spec.get("to") or ()
        )
        if comes and goes:
            return True
    return False
