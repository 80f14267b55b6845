"""Who may have which identity: pure decisions over the pods that the API holds."""

from dataclasses import dataclass

from hauberk.identity.spiffe_id import InvalidSpiffeIdError, SpiffeId, TrustDomain
from hauberk.model.kind import Object


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody may not have an identity, in words for the log and for the asker."""

    reason: str


def may_have_svid(
    node: str, wanted: str, pod: Object | None, pod_uid: str, domain: TrustDomain
) -> Refusal | None:
    """Whether `node` may ask for the SVID `wanted` for the pod of that UID (None: it may)."""
    if pod is None:
        return Refusal(f"no pod has UID {pod_uid!r}")
    where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    bound = pod["spec"].get("nodeName") or ""
    if bound != node:
        return Refusal(f"pod {where} is bound to node {bound or '(none)'}, not to {node}")
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return Refusal(f"pod {where} has ended")
    due = identity_of(pod, domain)
    if wanted != str(due):
        return Refusal(f"pod {where} runs as {due}, not as {wanted}")
    return None


def may_speak_for(
    peer: str, pod: Object | None, namespace: str, name: str, domain: TrustDomain
) -> Refusal | None:
    """Whether the bearer of SPIFFE ID `peer` may have the configuration of that pod's proxy (None: it may)."""
    where = f"{namespace}/{name}"
    if pod is None:
        return Refusal(f"pod {where} does not exist")
    if not pod["spec"].get("nodeName"):
        return Refusal(f"pod {where} is bound to no node")
    try:
        said = SpiffeId.parse(peer)
    except InvalidSpiffeIdError as error:
        return Refusal(str(error))
    due = identity_of(pod, domain)
    if said != due:
        return Refusal(f"pod {where} runs as {due}; the peer proved that it is {said}")
    return None


def identity_of(pod: Object, domain: TrustDomain) -> SpiffeId:
    """The SPIFFE ID of a pod."""
    return domain.workload(pod["metadata"]["namespace"], pod["spec"].get("serviceAccountName") or "default")
