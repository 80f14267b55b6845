"""Whether what was applied runs, and if not, what holds it up."""

from dataclasses import dataclass

from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.http_client import HttpClient

WAITED_FOR = {"Deployment": kinds.DEPLOYMENT, "StatefulSet": kinds.STATEFUL_SET, "Job": kinds.JOB}


@dataclass(frozen=True, slots=True)
class Progress:
    """One workload on its way."""

    kind: str
    namespace: str
    name: str
    done: bool
    failed: bool
    line: str


async def progress(client: HttpClient, applied: list[Object]) -> list[Progress]:
    """How far each Deployment, StatefulSet and Job among `applied` is."""
    found = []
    for each in applied:
        kind = WAITED_FOR.get(each["kind"])
        if kind is not None:
            metadata = each["metadata"]
            current = await client.get(kind, metadata.get("namespace") or "default", metadata["name"])
            found.append(judge(current))
    return found


def judge(workload: Object) -> Progress:
    """Reads the status of one workload as its controller writes it."""
    metadata, spec, status = workload["metadata"], workload.get("spec", {}), workload.get("status", {})
    kind = workload["kind"]
    if kind == "Job":
        conditions = {c["type"] for c in status.get("conditions", ()) if c.get("status") == "True"}
        done, failed = "Complete" in conditions, "Failed" in conditions
        line = "complete" if done else "failed" if failed else f"{status.get('active', 0)} active"
    else:
        wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
        current = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
        updated = status.get("updatedReplicas", 0)
        done, failed = current and ready >= wanted and updated >= wanted, False
        line = f"{ready}/{wanted} ready"
    return Progress(kind, metadata["namespace"], metadata["name"], done, failed, line)


async def obstacles(client: HttpClient, namespaces: set[str]) -> list[str]:
    """One line for each pod that is not ready, with the reason that the node gives."""
    lines = []
    for namespace in sorted(namespaces):
        for pod in (await client.list(kinds.POD, namespace)).items:
            status = pod.get("status", {})
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
            if ready or status.get("phase") == "Succeeded":
                continue
            lines.append(f"{namespace}/{pod['metadata']['name']}: {_reason(pod)}")
    return lines


def _reason(pod: Object) -> str:
    status = pod.get("status", {})
    for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        for state in (container.get("state", {}), container.get("lastState", {})):
            for detail in (state.get("waiting"), state.get("terminated")):
                if detail and detail.get("reason") not in {None, "ContainerCreating", "Completed"}:
                    return f"{container['name']}: {detail['reason']}: {detail.get('message', '')}".rstrip(
                        ": "
                    )
    return str(status.get("message") or status.get("reason") or status.get("phase", "Pending"))
