"""A table of what runs: each workload, its identity, its pods."""

from hauberk.cli.output import BAD, GOOD, print_table, styled
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.http_client import HttpClient


async def print_workloads(client: HttpClient, namespaces: set[str]) -> None:
    """Workloads of the given namespaces, one row a pod."""
    rows = []
    for namespace in sorted(namespaces):
        for pod in (await client.list(kinds.POD, namespace)).items:
            status = pod.get("status", {})
            state, style = _state(pod)
            rows.append(
                (
                    namespace,
                    pod["metadata"]["name"],
                    styled(state, style),
                    status.get("podIP", "-"),
                    f"ns/{namespace}/sa/{pod['spec'].get('serviceAccountName', 'default')}",
                    str(sum(c.get("restartCount", 0) for c in status.get("containerStatuses", ()))),
                )
            )
    print_table(("NAMESPACE", "POD", "STATE", "ADDRESS", "IDENTITY", "RESTARTS"), rows)


def _state(pod: Object) -> tuple[str, str]:
    status = pod.get("status", {})
    phase = status.get("phase", "Pending")
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
    if phase == "Running":
        return ("ready", GOOD) if ready else ("not ready", BAD)
    return phase, GOOD if phase == "Succeeded" else BAD
