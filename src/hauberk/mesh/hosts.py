"""Names of hosts in Istio's objects: short ones are completed, wildcards stand first."""

from hauberk.mesh.registry import Mesh, host_of


def resolve_host(name: str, namespace: str, mesh: Mesh) -> str:
    """`reviews` in `bank` is `reviews.bank.svc.cluster.local`; a name with a dot or a `*` is itself."""
    if not name or "." in name or "*" in name:
        return name
    return host_of(name, namespace, mesh)


def host_matches(pattern: str, host: str) -> bool:
    """Whether `*`, `*.example.com` or an exact name covers a host (which may be a wildcard itself)."""
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern == host


def narrower_host(one: str, other: str) -> str | None:
    """What two host names, perhaps wildcards, have in common: the narrower of both, None if they share nothing."""
    if host_matches(one, other):
        return other
    return one if host_matches(other, one) else None
