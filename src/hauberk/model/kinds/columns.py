"""What the printed tables show where it takes more than one field."""

from datetime import datetime
from typing import Any

from hauberk.model.kind import Object

NONE = "<none>"


def pod_ready(pod: Object) -> str:
    """`1/2`: containers that are ready, of all."""
    statuses = _status(pod).get("containerStatuses") or []
    containers = pod.get("spec", {}).get("containers") or []
    return f"{sum(bool(status.get('ready')) for status in statuses)}/{len(containers)}"


def pod_status(pod: Object) -> str:
    """The one word that says best how the pod is."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = _status(pod)
    for index, init in enumerate(status.get("initContainerStatuses") or []):
        reason = _init_reason(init, index, len(pod["spec"].get("initContainers") or []))
        if reason:
            return reason
    word = str(status.get("reason") or status.get("phase") or "Unknown")
    for container in status.get("containerStatuses") or []:
        word = _container_reason(container) or word
    return word


def _init_reason(status: Object, index: int, total: int) -> str | None:
    state = status.get("state") or {}
    if "terminated" in state:
        terminated = state["terminated"]
        if terminated.get("exitCode") == 0:
            return None
        return f"Init:{terminated.get('reason') or 'ExitCode:' + str(terminated.get('exitCode'))}"
    if "running" in state and status.get("started"):
        return None
    waiting = (state.get("waiting") or {}).get("reason")
    if waiting and waiting != "PodInitializing":
        return f"Init:{waiting}"
    return f"Init:{index}/{total}"


def _container_reason(status: Object) -> str | None:
    state = status.get("state") or {}
    reason: str | None = None
    if waiting := state.get("waiting"):
        reason = waiting.get("reason")
    elif terminated := state.get("terminated"):
        reason = terminated.get("reason") or f"ExitCode:{terminated.get('exitCode')}"
    return reason


def pod_restarts(pod: Object) -> int:
    """How often containers were started again."""
    return sum(status.get("restartCount", 0) for status in _status(pod).get("containerStatuses") or [])


def ready_of_replicas(obj: Object) -> str:
    """`1/2`: pods that are ready, of those wanted."""
    return f"{_status(obj).get('readyReplicas', 0)}/{obj.get('spec', {}).get('replicas', 1)}"


def container_names(obj: Object) -> str:
    """Names of the template's containers."""
    return ",".join(container["name"] for container in _template_containers(obj))


def container_images(obj: Object) -> str:
    """Images of the template's containers."""
    return ",".join(container.get("image", "") for container in _template_containers(obj))


def label_selector(obj: Object) -> str:
    """The selector as `-l` takes it."""
    selector = obj.get("spec", {}).get("selector") or {}
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        terms.append(_expression(expression))
    return ",".join(terms) or NONE


def _expression(expression: Object) -> str:
    key, values = expression["key"], ",".join(expression.get("values") or [])
    match expression["operator"]:
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "DoesNotExist":
            return f"!{key}"
    return str(key)


def job_completions(job: Object) -> str:
    """`1/3`: pods that succeeded, of those needed."""
    spec, succeeded = job.get("spec", {}), _status(job).get("succeeded", 0)
    if spec.get("completions") is None:
        return f"{succeeded}/1 of {spec.get('parallelism', 1)}"
    return f"{succeeded}/{spec['completions']}"


def job_status(job: Object) -> str:
    """Complete, Failed, Suspended or Running."""
    true = {item["type"] for item in _status(job).get("conditions") or [] if item.get("status") == "True"}
    for word in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if word in true:
            return word
    return "Terminating" if job["metadata"].get("deletionTimestamp") else "Running"


def job_duration(job: Object) -> str:
    """How long the job took, once it has ended."""
    status = _status(job)
    start, end = status.get("startTime"), status.get("completionTime")
    if not start or not end:
        return ""
    return _short((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())


def _short(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def service_external_address(service: Object) -> str:
    """Addresses of the load balancer, or the name that the service stands for."""
    spec = service.get("spec", {})
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", ""))
    ingress = (_status(service).get("loadBalancer") or {}).get("ingress") or []
    addresses = [item.get("ip") or item.get("hostname", "") for item in ingress] + (
        spec.get("externalIPs") or []
    )
    if addresses:
        return ",".join(addresses)
    return "<pending>" if spec.get("type") == "LoadBalancer" else NONE


def service_ports(service: Object) -> str:
    """`80/TCP,443/TCP`."""
    ports = service.get("spec", {}).get("ports") or []
    return ",".join(_port(port) for port in ports) or NONE


def _port(port: Object) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port['port']}{node_port}/{port.get('protocol', 'TCP')}"


def service_selector(service: Object) -> str:
    """The service's labels of pods."""
    selector = service.get("spec", {}).get("selector") or {}
    return ",".join(f"{key}={value}" for key, value in selector.items()) or NONE


def data_count(obj: Object) -> int:
    """How many keys a ConfigMap or Secret has."""
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def node_status(node: Object) -> str:
    """Ready or NotReady, and whether it takes pods."""
    ready = condition(node, "Ready")
    word = {"True": "Ready", "False": "NotReady"}.get(ready, "Unknown")
    return f"{word},SchedulingDisabled" if node.get("spec", {}).get("unschedulable") else word


def node_roles(node: Object) -> str:
    """Roles by the label `node-role.kubernetes.io/ROLE`."""
    prefix = "node-role.kubernetes.io/"
    labels = node["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or NONE


def node_address(kind: str) -> Any:
    """Reads the node's first address of a kind."""

    def read(node: Object) -> str:
        addresses = _status(node).get("addresses") or []
        return next((item["address"] for item in addresses if item["type"] == kind), NONE)

    return read


def claim_access_modes(obj: Object) -> str:
    """`RWO,ROX`."""
    short = {
        "ReadWriteOnce": "RWO",
        "ReadOnlyMany": "ROX",
        "ReadWriteMany": "RWX",
        "ReadWriteOncePod": "RWOP",
    }
    modes = obj.get("spec", {}).get("accessModes") or []
    return ",".join(short.get(mode, mode) for mode in modes)


def volume_claim(volume: Object) -> str:
    """`NAMESPACE/NAME` of the claim that a volume is bound to."""
    claim = volume.get("spec", {}).get("claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


def event_object(event: Object) -> str:
    """`pod/web-0`."""
    involved = event.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def event_last_seen(event: Object) -> str:
    """When it happened last."""
    series = (event.get("series") or {}).get("lastObservedTime")
    last = series or event.get("lastTimestamp") or event.get("eventTime")
    return str(last or event["metadata"].get("creationTimestamp") or "")


def event_first_seen(event: Object) -> str:
    """When it happened first."""
    first = event.get("firstTimestamp") or event.get("eventTime")
    return str(first or event["metadata"].get("creationTimestamp") or "")


def event_source(event: Object) -> str:
    """The component that told of it, and on which host."""
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {host}" if host else str(component)


def slice_ports(obj: Object) -> str:
    """Port numbers of an EndpointSlice."""
    return ",".join(str(port.get("port", "*")) for port in obj.get("ports") or []) or "<unset>"


def slice_addresses(obj: Object) -> str:
    """The first addresses of an EndpointSlice."""
    addresses = [
        address for endpoint in obj.get("endpoints") or [] for address in endpoint.get("addresses") or []
    ]
    more = f" + {len(addresses) - 3} more..." if len(addresses) > 3 else ""
    return ",".join(addresses[:3]) + more or "<unset>"


def role_reference(binding: Object) -> str:
    """`ClusterRole/view`."""
    reference = binding.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


def binding_subjects(kind: str) -> Any:
    """Reads the subjects of a kind."""

    def read(binding: Object) -> str:
        chosen = [item for item in binding.get("subjects") or [] if item.get("kind") == kind]
        return ",".join(
            f"{item['namespace']}/{item['name']}" if item.get("namespace") else item["name"]
            for item in chosen
        )

    return read


def request_condition(request: Object) -> str:
    """Pending, or what was decided, and Issued."""
    status = _status(request)
    words = [item["type"] for item in status.get("conditions") or []]
    if status.get("certificate"):
        words.append("Issued")
    return ",".join(words) or "Pending"


def route_condition(name: str) -> Any:
    """Reads whether every parent of a route says that a condition is true."""

    def read(route: Object) -> str:
        parents = _status(route).get("parents") or []
        found = [
            item["status"]
            for parent in parents
            for item in parent.get("conditions") or []
            if item["type"] == name
        ]
        return "" if not found else "True" if all(value == "True" for value in found) else "False"

    return read


def condition_reader(name: str) -> Any:
    """Reads the status of a condition."""
    return lambda obj: condition(obj, name)


def condition(obj: Object, name: str) -> str:
    """`True`, `False`, `Unknown`, or nothing if the condition was not reported."""
    conditions = _status(obj).get("conditions") or []
    return next((str(item.get("status", "")) for item in conditions if item.get("type") == name), "")


def _status(obj: Object) -> Object:
    status: Object = obj.get("status") or {}
    return status


def _template_containers(obj: Object) -> list[Object]:
    containers: list[Object] = obj.get("spec", {}).get("template", {}).get("spec", {}).get("containers") or []
    return containers
