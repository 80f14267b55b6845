"""Whose stream it is: the mTLS peer's SPIFFE ID must be that of the pod that `node.id` names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hauberk.mesh.ads import UnauthenticatedError
from hauberk.mesh.proxy import Proxy, parse_node_id, proxy_of
from hauberk.mesh.registry import Registry


def authenticate_by_spiffe_id(registry: Callable[[], Registry]) -> Callable[[Any, Any], Proxy]:
    """An `Authenticate` for `Discovery`. `registry` gives the registry of the moment."""

    def authenticate(context: Any, node: Any) -> Proxy:
        named = parse_node_id(node.id)
        facts = registry()
        workload = facts.workloads.get((named.namespace, named.name))
        peers = {one.decode() for one in context.auth_context().get("x509_subject_alternative_name", ())}
        if workload is None:
            raise UnauthenticatedError(
                f"node.id names pod {named.namespace}/{named.name}, which is not known (yet); the proxy may retry"
            )
        expected = workload.spiffe_id(facts.mesh)
        if expected not in peers:
            raise UnauthenticatedError(
                f"node.id names pod {named.namespace}/{named.name}, whose identity is {expected}; "
                f"the certificate shows {', '.join(sorted(peers)) or 'no identity'}"
            )
        return proxy_of(named, workload)

    return authenticate
