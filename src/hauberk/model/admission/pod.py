"""Rules on pods and pod templates."""

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from hauberk.model.admission.syntax import (
    Errors,
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    ip_address,
    labels,
    not_found,
    not_supported,
    port_name,
    port_reference,
    quantities,
    required,
    unique,
    variable_name,
)
from hauberk.model.kubernetes.container import Container, EnvVar, LifecycleHandler, Probe, VolumeMount
from hauberk.model.kubernetes.pod import Pod, PodSpec, PodTemplateSpec
from hauberk.model.kubernetes.volume import Volume
from hauberk.model.quantity import parse_quantity


def admit_pod(new: Pod, old: Pod | None) -> Errors:
    """A pod; once it exists, only its image, deadline and tolerations can be changed."""
    if new.spec is None:
        yield required("spec")
        return
    yield from admit_pod_spec(new.spec, "spec")
    if (
        old is not None
        and old.spec is not None
        and _frozen(new.spec, old.spec) != _frozen(old.spec, old.spec)
    ):
        yield forbidden(
            "spec",
            "only image, activeDeadlineSeconds, terminationGracePeriodSeconds and tolerations of a pod can be "
            "changed: delete it and make a new one, or change the template of its controller",
        )


def _frozen(spec: PodSpec, stored: PodSpec) -> Any:
    """What of `spec` must not change. The node may be set once, by binding."""
    containers = [msgspec.structs.replace(container, image=None) for container in spec.containers]
    init_containers = [msgspec.structs.replace(container, image=None) for container in spec.init_containers]
    return msgspec.structs.replace(
        spec,
        containers=tuple(containers),
        init_containers=tuple(init_containers),
        ephemeral_containers=(),
        active_deadline_seconds=None,
        termination_grace_period_seconds=None,
        tolerations=(),
        scheduling_gates=(),
        node_name=spec.node_name if stored.node_name else None,
    )


def admit_template(
    template: PodTemplateSpec | None,
    path: str,
    restart_policies: set[str],
    *,
    volumes_added: Collection[str] = (),
) -> Errors:
    """The template of a controller that allows certain restart policies, and may add volumes of its own."""
    if template is None or template.spec is None:
        yield required(f"{path}.spec")
        return
    if template.metadata is not None:
        yield from labels(template.metadata.labels, f"{path}.metadata.labels")
    yield from admit_pod_spec(template.spec, f"{path}.spec", volumes_added=volumes_added)
    policy = template.spec.restart_policy or "Always"
    if policy not in restart_policies:
        allowed = " or ".join(sorted(restart_policies))
        yield not_supported(f"{path}.spec.restartPolicy", f'expected {allowed} here, found "{policy}"')


def admit_pod_spec(spec: PodSpec, path: str, *, volumes_added: Collection[str] = ()) -> Errors:
    """What pods and templates have in common."""
    every = list(_containers(spec, path))
    yield from unique([(container.name, f"{at}.name") for container, at in every], "container name")
    yield from unique(
        [(volume.name, f"{path}.volumes[{index}].name") for index, volume in enumerate(spec.volumes)],
        "volume name",
    )
    volumes = {volume.name for volume in spec.volumes} | set(volumes_added)
    for index, volume in enumerate(spec.volumes):
        yield from _admit_volume(volume, f"{path}.volumes[{index}]")
    for container, at in every:
        yield from _admit_container(container, at, volumes)
    for index, container in enumerate(spec.init_containers):
        if container.restart_policy is None:
            yield from _admit_init_container(container, f"{path}.initContainers[{index}]")
    yield from unique(_port_names(spec, path), "port name")
    yield from labels(spec.node_selector, f"{path}.nodeSelector")
    if spec.hostname:
        yield from dns_label(spec.hostname, f"{path}.hostname")
    if spec.subdomain:
        yield from dns_label(spec.subdomain, f"{path}.subdomain")
    if spec.service_account_name:
        yield from dns_subdomain(spec.service_account_name, f"{path}.serviceAccountName")
    for index, alias in enumerate(spec.host_aliases):
        yield from ip_address(alias.ip, f"{path}.hostAliases[{index}].ip")


def _containers(spec: PodSpec, path: str) -> Iterator[tuple[Container, str]]:
    for index, container in enumerate(spec.init_containers):
        yield container, f"{path}.initContainers[{index}]"
    for index, container in enumerate(spec.containers):
        yield container, f"{path}.containers[{index}]"


def _port_names(spec: PodSpec, path: str) -> Iterator[tuple[str, str]]:
    for index, container in enumerate(spec.containers):
        for number, port in enumerate(container.ports):
            if port.name:
                yield port.name, f"{path}.containers[{index}].ports[{number}].name"


def _admit_container(container: Container, path: str, volumes: set[str]) -> Errors:
    yield from dns_label(container.name, f"{path}.name")
    if not container.image:
        yield required(f"{path}.image", "is required: `host` runs a program of the node")
    for index, port in enumerate(container.ports):
        if port.name:
            yield from port_name(port.name, f"{path}.ports[{index}].name")
    for index, variable in enumerate(container.env):
        yield from _admit_variable(variable, f"{path}.env[{index}]")
    for index, source in enumerate(container.env_from):
        if (source.config_map_ref is None) == (source.secret_ref is None):
            yield invalid(f"{path}.envFrom[{index}]", "expected exactly one of configMapRef and secretRef")
    yield from _admit_mounts(container.volume_mounts, f"{path}.volumeMounts", volumes)
    for name, probe in _probes(container):
        yield from _admit_probe(probe, f"{path}.{name}", needs_one_success=name != "readinessProbe")
    if container.lifecycle is not None:
        for name, handler in (
            ("postStart", container.lifecycle.post_start),
            ("preStop", container.lifecycle.pre_stop),
        ):
            if handler is not None:
                yield from _admit_handler(handler, f"{path}.lifecycle.{name}")
    if container.resources is not None:
        yield from _admit_resources(container, f"{path}.resources")


def _admit_init_container(container: Container, path: str) -> Errors:
    for name, _ in _probes(container):
        yield forbidden(f"{path}.{name}", "an init container that runs to its end has no probes: remove it")


def _probes(container: Container) -> Iterator[tuple[str, Probe]]:
    named = (
        ("livenessProbe", container.liveness_probe),
        ("readinessProbe", container.readiness_probe),
        ("startupProbe", container.startup_probe),
    )
    return ((name, probe) for name, probe in named if probe is not None)


def _admit_variable(variable: EnvVar, path: str) -> Errors:
    yield from variable_name(variable.name, f"{path}.name")
    if variable.value_from is None:
        return
    if variable.value:
        yield invalid(f"{path}.valueFrom", "expected value or valueFrom, found both: remove one")
    source = variable.value_from
    given = [
        item
        for item in (
            source.config_map_key_ref,
            source.secret_key_ref,
            source.field_ref,
            source.resource_field_ref,
            source.file_key_ref,
        )
        if item is not None
    ]
    if len(given) != 1:
        yield invalid(f"{path}.valueFrom", f"expected exactly one source, found {len(given)}")


def _admit_mounts(mounts: tuple[VolumeMount, ...], path: str, volumes: set[str]) -> Errors:
    seen: set[str] = set()
    for index, mount in enumerate(mounts):
        at = f"{path}[{index}]"
        if mount.name not in volumes:
            known = ", ".join(sorted(volumes)) or "none"
            yield not_found(
                f"{at}.name", f'there is no volume "{mount.name}" in this pod; there are: {known}'
            )
        if not mount.mount_path.startswith("/"):
            yield invalid(f"{at}.mountPath", f'expected an absolute path, found "{mount.mount_path}"')
        if mount.mount_path in seen:
            yield duplicate(f"{at}.mountPath", f'"{mount.mount_path}" is mounted twice')
        seen.add(mount.mount_path)
        if mount.sub_path and (mount.sub_path.startswith("/") or ".." in mount.sub_path.split("/")):
            yield invalid(f"{at}.subPath", f'expected a path below the volume, found "{mount.sub_path}"')


def _admit_probe(probe: Probe, path: str, *, needs_one_success: bool) -> Errors:
    handlers = [
        item for item in (probe.exec, probe.http_get, probe.tcp_socket, probe.grpc) if item is not None
    ]
    if len(handlers) != 1:
        yield invalid(
            path, f"expected exactly one of exec, httpGet, tcpSocket and grpc, found {len(handlers)}"
        )
    if needs_one_success and probe.success_threshold not in {None, 1}:
        yield invalid(f"{path}.successThreshold", f"expected 1 here, found {probe.success_threshold}")
    if probe.exec is not None and not probe.exec.command:
        yield required(f"{path}.exec.command")
    if probe.http_get is not None:
        yield from port_reference(probe.http_get.port, f"{path}.httpGet.port")
    if probe.tcp_socket is not None:
        yield from port_reference(probe.tcp_socket.port, f"{path}.tcpSocket.port")
    if probe.grpc is not None:
        yield from port_reference(probe.grpc.port, f"{path}.grpc.port")


def _admit_handler(handler: LifecycleHandler, path: str) -> Errors:
    given = [
        item
        for item in (handler.exec, handler.http_get, handler.tcp_socket, handler.sleep)
        if item is not None
    ]
    if len(given) != 1:
        yield invalid(path, f"expected exactly one of exec, httpGet and sleep, found {len(given)}")


def _admit_resources(container: Container, path: str) -> Errors:
    resources = container.resources
    if resources is None:
        return
    wrong = [
        *quantities(resources.limits, f"{path}.limits"),
        *quantities(resources.requests, f"{path}.requests"),
    ]
    yield from wrong
    if wrong:
        return
    for name, request in resources.requests.items():
        limit = resources.limits.get(name)
        if limit is not None and parse_quantity(request) > parse_quantity(limit):
            yield invalid(f"{path}.requests[{name}]", f"expected at most the limit {limit}, found {request}")


def _admit_volume(volume: Volume, path: str) -> Errors:
    yield from dns_label(volume.name, f"{path}.name")
    sources = [
        name for name in volume.__struct_fields__ if name != "name" and getattr(volume, name) is not None
    ]
    if len(sources) > 1:
        yield forbidden(path, f"expected one source, found {len(sources)}: {', '.join(sources)}")
    if volume.host_path is not None and ".." in volume.host_path.path.split("/"):
        yield invalid(f"{path}.hostPath.path", 'must not contain ".."')
