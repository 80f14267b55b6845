"""Service: are there pods behind it, and what do its ports carry?"""

from collections.abc import Iterator

from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.protocol import carried
from hauberk.model.analysis.world import World


def analyze_services(world: World) -> Iterator[Finding]:
    """Codes HBK0401 to HBK0403."""
    for item in world.services.values():
        spec = item.value.spec
        if spec is None or spec.type == "ExternalName":
            continue
        pods = world.pods(item.namespace, spec.selector) if spec.selector else []
        if spec.selector and not pods:
            labels = ", ".join(f"{key}={value}" for key, value in spec.selector.items())
            yield item.finding(
                "HBK0401", "spec.selector", f"no pod in {item.namespace} has the labels {labels}"
            )
        for index, port in enumerate(spec.ports):
            path = f"spec.ports[{index}]"
            if carried(port) == "unknown":
                name = f'the name "{port.name}"' if port.name else "a port without a name"
                yield item.finding("HBK0402", path, f"{name} tells no protocol")
            target = port.target_port
            if isinstance(target, str) and pods and not any(target in pod.port_names() for pod in pods):
                named = ", ".join(sorted(set().union(*(pod.port_names() for pod in pods)))) or "none"
                message = f'no container has a port named "{target}"; there are: {named}'
                yield item.finding("HBK0403", f"{path}.targetPort", message)
