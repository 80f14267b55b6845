"""Pods and their templates: is all there that they need, and can they run here?"""

from collections.abc import Iterator

from hauberk.model.analysis.finding import Finding
from hauberk.model.analysis.world import Workload, World
from hauberk.model.kubernetes.apps import StatefulSet
from hauberk.model.kubernetes.container import Container, Probe

_MADE_BY_CONTROLLERS = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})


def analyze_workloads(world: World) -> Iterator[Finding]:
    """Codes HBK0501 to HBK0504."""
    for workload in world.workloads:
        for kind, name, path in _references(workload):
            if (kind, name) in _MADE_BY_CONTROLLERS or world.has(kind, workload.namespace, name):
                continue
            message = f'there is no {kind} "{name}" in {workload.namespace}'
            yield workload.item.finding("HBK0501", f"{workload.path}.{path}", message)
        for container, path in _containers(workload):
            yield from _container(world, workload, container, f"{workload.path}.{path}")
        yield from _host_namespaces(workload)


def _containers(workload: Workload) -> Iterator[tuple[Container, str]]:
    for index, container in enumerate(workload.spec.init_containers):
        yield container, f"initContainers[{index}]"
    for index, container in enumerate(workload.spec.containers):
        yield container, f"containers[{index}]"


def _references(workload: Workload) -> Iterator[tuple[str, str, str]]:
    spec = workload.spec
    if spec.service_account_name:
        yield "ServiceAccount", spec.service_account_name, "serviceAccountName"
    for container, path in _containers(workload):
        yield from _environment(container, path)
    claims: set[str] = set()
    value = workload.item.value
    if isinstance(value, StatefulSet):
        claims = {claim.metadata.name or "" for claim in value.spec.volume_claim_templates}
    for index, volume in enumerate(spec.volumes):
        path = f"volumes[{index}]"
        if volume.config_map is not None and volume.config_map.name and not volume.config_map.optional:
            yield "ConfigMap", volume.config_map.name, f"{path}.configMap.name"
        if volume.secret is not None and volume.secret.secret_name and not volume.secret.optional:
            yield "Secret", volume.secret.secret_name, f"{path}.secret.secretName"
        claim = volume.persistent_volume_claim
        if claim is not None and volume.name not in claims:
            yield "PersistentVolumeClaim", claim.claim_name, f"{path}.persistentVolumeClaim.claimName"
        for number, source in enumerate(volume.projected.sources if volume.projected is not None else ()):
            below = f"{path}.projected.sources[{number}]"
            if source.config_map is not None and source.config_map.name and not source.config_map.optional:
                yield "ConfigMap", source.config_map.name, f"{below}.configMap.name"
            if source.secret is not None and source.secret.name and not source.secret.optional:
                yield "Secret", source.secret.name, f"{below}.secret.name"


def _environment(container: Container, path: str) -> Iterator[tuple[str, str, str]]:
    for index, variable in enumerate(container.env):
        source, below = variable.value_from, f"{path}.env[{index}].valueFrom"
        if source is None:
            continue
        config_map, secret = source.config_map_key_ref, source.secret_key_ref
        if config_map is not None and config_map.name and not config_map.optional:
            yield "ConfigMap", config_map.name, f"{below}.configMapKeyRef.name"
        if secret is not None and secret.name and not secret.optional:
            yield "Secret", secret.name, f"{below}.secretKeyRef.name"
    for index, whole in enumerate(container.env_from):
        below = f"{path}.envFrom[{index}]"
        if (
            whole.config_map_ref is not None
            and whole.config_map_ref.name
            and not whole.config_map_ref.optional
        ):
            yield "ConfigMap", whole.config_map_ref.name, f"{below}.configMapRef.name"
        if whole.secret_ref is not None and whole.secret_ref.name and not whole.secret_ref.optional:
            yield "Secret", whole.secret_ref.name, f"{below}.secretRef.name"


def _container(world: World, workload: Workload, container: Container, path: str) -> Iterator[Finding]:
    item = workload.item
    images = world.context.images
    if images is not None and container.image not in images:
        message = f'the image "{container.image}" cannot be run here, only {", ".join(sorted(images))}'
        yield item.finding("HBK0503", f"{path}.image", message)
    security = container.security_context
    if security is not None and security.privileged:
        yield item.finding(
            "HBK0504", f"{path}.securityContext.privileged", "privileged containers are not supported"
        )
    for index, port in enumerate(container.ports):
        if port.host_port:
            yield item.finding(
                "HBK0504", f"{path}.ports[{index}].hostPort", "ports of the node are not supported"
            )
    names = {port.name for port in container.ports if port.name}
    for name, probe in (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    ):
        for handler, port_wanted in _probed(probe):
            if isinstance(port_wanted, str) and port_wanted not in names:
                listed = ", ".join(sorted(names)) or "none"
                message = f'container {container.name} has no port named "{port_wanted}"; its ports: {listed}'
                yield item.finding("HBK0502", f"{path}.{name}.{handler}.port", message)


def _probed(probe: Probe | None) -> Iterator[tuple[str, int | str]]:
    if probe is None:
        return
    if probe.http_get is not None:
        yield "httpGet", probe.http_get.port
    if probe.tcp_socket is not None:
        yield "tcpSocket", probe.tcp_socket.port


def _host_namespaces(workload: Workload) -> Iterator[Finding]:
    spec = workload.spec
    for name, given in (
        ("hostNetwork", spec.host_network),
        ("hostPID", spec.host_pid),
        ("hostIPC", spec.host_ipc),
    ):
        if given:
            yield workload.item.finding("HBK0504", f"{workload.path}.{name}", f"{name} is not supported")
