"""The pod that a person means: `web-1`, `pod/web-1`, or one of `deploy/web`."""

from hauberk.cli.custom_kinds import Kinds
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.overview import is_ready
from hauberk.cli.references import WorkloadReference
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.model.workload_name import workload_name
from hauberk.store.http_client import HttpClient

WITH_PODS = (kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.STATEFUL_SET, kinds.JOB, kinds.SERVICE)


async def find_pod(client: HttpClient, namespace: str, word: str) -> Object:
    """The pod, of a workload a ready one if there is one.

    Raises:
        CommandError: the kind has no pods, or the workload has none now.
        ApiError: there is no such object.
    """
    kind_word, slash, name = word.partition("/")
    if not slash:
        return await client.get(kinds.POD, namespace, word)
    kind = Kinds().by_word(kind_word)
    if kind is kinds.POD:
        return await client.get(kinds.POD, namespace, name)
    if kind not in WITH_PODS:
        expected = ", ".join(each.singular for each in WITH_PODS)
        raise CommandError(f"{word}: expected a pod, or one of {expected}", "", ExitCode.USAGE)
    owner = await client.get(kind, namespace, name)
    selector = (owner.get("spec") or {}).get("selector") or {}
    labels = selector if kind is kinds.SERVICE else selector.get("matchLabels") or {}
    if kind is kinds.JOB and not labels:
        labels = {"batch.kubernetes.io/controller-uid": owner["metadata"]["uid"]}
    wanted = ",".join(f"{key}={value}" for key, value in labels.items())
    found = (await client.list(kinds.POD, namespace, label_selector=wanted)).items if wanted else []
    if not found:
        raise CommandError(
            f"{word}: expected a pod of it, found none", f"hauberk describe {word} -n {namespace}"
        )
    return min(found, key=lambda pod: (not is_ready(pod), pod["metadata"]["name"]))


async def pod_of(client: HttpClient, reference: WorkloadReference) -> Object:
    """The pod of that name, else one of those that the workload of that name made.

    Raises:
        CommandError: there is none.
    """
    pods = (await client.list(kinds.POD, reference.namespace)).items
    for name_of in (_name, workload_name):
        found = [pod for pod in pods if name_of(pod) == reference.name]
        if found:
            return min(found, key=_name)
    raise CommandError(
        f"workload {reference}: expected a pod of it, found none",
        f"hauberk get pods -n {reference.namespace}",
    )


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def container_of(pod: Object, asked: str) -> str:
    """The container's name: the one asked for, else the pod's default or first one.

    Raises:
        CommandError: the pod has no such container.
    """
    spec, metadata = pod["spec"], pod["metadata"]
    first = [each["name"] for each in spec["containers"]]
    names = first + [each["name"] for each in spec.get("initContainers") or ()]
    default = (metadata.get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    name = asked or default or first[0]
    if name not in names:
        raise CommandError(
            f"container: expected one of {', '.join(names)} in pod {metadata['name']}, found {name!r}",
            "name it with -c",
            ExitCode.USAGE,
        )
    return str(name)


def node_of(pod: Object) -> str:
    """The node that runs it.

    Raises:
        CommandError: it runs nowhere yet.
    """
    metadata = pod["metadata"]
    node = pod["spec"].get("nodeName")
    if not node:
        raise CommandError(
            f"pod {metadata['name']} is not on a node yet",
            f"hauberk describe pod {metadata['name']} -n {metadata['namespace']}",
        )
    return str(node)
