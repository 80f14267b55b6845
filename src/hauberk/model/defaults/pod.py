"""Defaults of pods and pod templates."""

from typing import Any

from hauberk.model.kind import Object

_MODE_0644 = 0o644
_SOURCES_WITH_MODE = ("configMap", "secret", "projected", "downwardAPI")


def default_pod(pod: Object) -> None:
    """A pod: its spec, and the service account `default`."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = account
    for container in [*_items(spec, "containers"), *_items(spec, "initContainers")]:
        _default_requests(container.get("resources") or {})


def default_template(template: Object) -> None:
    """The pod template of a controller."""
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def default_pod_spec(spec: Object) -> None:
    """What pods and templates have in common."""
    if spec.get("serviceAccountName"):
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    _set(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
        securityContext={},
    )
    for name in ("containers", "initContainers"):
        for container in _items(spec, name):
            _default_container(container)
    for volume in _items(spec, "volumes"):
        _default_volume(volume)


def _default_container(container: Object) -> None:
    _set(
        container,
        imagePullPolicy=_pull_policy(str(container.get("image") or "")),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    for port in _items(container, "ports"):
        _set(port, protocol="TCP")
    for variable in _items(container, "env"):
        if field := (variable.get("valueFrom") or {}).get("fieldRef"):
            _set(field, apiVersion="v1")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(name), dict):
            _default_probe(container[name])
    lifecycle = container.get("lifecycle") or {}
    for name in ("postStart", "preStop"):
        _default_http(lifecycle.get(name) or {})


def _pull_policy(image: str) -> str:
    """Always for a tag that moves. `host` is the node's own file system: there is nothing to pull."""
    name = image.rpartition("/")[2]
    moves = "@" not in name and (":" not in name or name.endswith(":latest"))
    return "Always" if moves and image not in {"host", "auto"} else "IfNotPresent"


def _default_probe(probe: Object) -> None:
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _default_http(probe)
    if isinstance(probe.get("grpc"), dict):
        _set(probe["grpc"], service="")


def _default_http(handler: Object) -> None:
    if isinstance(handler.get("httpGet"), dict):
        _set(handler["httpGet"], path="/", scheme="HTTP")


def _default_requests(resources: Object) -> None:
    for name, limit in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, limit)


def _default_volume(volume: Object) -> None:
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}
    for name in _SOURCES_WITH_MODE:
        if isinstance(volume.get(name), dict):
            _set(volume[name], defaultMode=_MODE_0644)
    for source in _items(volume.get("projected") or {}, "sources"):
        if isinstance(source.get("serviceAccountToken"), dict):
            _set(source["serviceAccountToken"], expirationSeconds=3600)
    if isinstance(volume.get("hostPath"), dict):
        _set(volume["hostPath"], type="")


def _items(parent: Object, name: str) -> list[Object]:
    return [item for item in parent.get(name) or [] if isinstance(item, dict)]


def _set(target: Object, **values: Any) -> None:
    for name, value in values.items():
        if target.get(name) is None:
            target[name] = value
