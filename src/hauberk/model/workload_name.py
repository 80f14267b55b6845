"""What a pod is a part of."""

from hauberk.model.kind import Object


def workload_name(pod: Object) -> str:
    """The name of what made the pod: a Deployment's is that of its ReplicaSet without the hash."""
    metadata = pod["metadata"]
    owners = metadata.get("ownerReferences") or ()
    owner = next((each for each in owners if each.get("controller")), None)
    if owner is None:
        return str(metadata["name"])
    name = str(owner["name"])
    hashed = (metadata.get("labels") or {}).get("pod-template-hash")
    if owner["kind"] == "ReplicaSet" and hashed and name.endswith(f"-{hashed}"):
        return name.removesuffix(f"-{hashed}")
    return name
