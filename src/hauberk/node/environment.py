"""A container's arguments and environment, from its specification and what it refers to (pure)."""

import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hauberk.model.kind import Object

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ConfigurationError(Exception):
    """A container refers to what is not there: `CreateContainerConfigError` in its status."""


@dataclass(frozen=True, slots=True)
class References:
    """ConfigMaps and Secrets of the pod's namespace by name; what is absent there does not exist."""

    config_maps: Mapping[str, Object]
    secrets: Mapping[str, Object]

    def config_map(self, name: str, optional: bool) -> dict[str, bytes] | None:
        """Keys and values. Raises `ConfigurationError` if it does not exist and is not optional."""
        found = self.config_maps.get(name)
        if found is None:
            _absent(f'configmap "{name}" not found', optional)
            return None
        binary = {key: b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return {key: value.encode() for key, value in (found.get("data") or {}).items()} | binary

    def secret(self, name: str, optional: bool) -> dict[str, bytes] | None:
        """Keys and values. Raises `ConfigurationError` if it does not exist and is not optional."""
        found = self.secrets.get(name)
        if found is None:
            _absent(f'secret "{name}" not found', optional)
            return None
        return {key: b64decode(value) for key, value in (found.get("data") or {}).items()}


def _absent(message: str, optional: bool) -> None:
    if not optional:
        raise ConfigurationError(message)


def referenced(pod: Object) -> tuple[set[str], set[str]]:
    """Names of the ConfigMaps and of the Secrets that a pod uses."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    spec = pod["spec"]
    sources: list[Mapping[str, Any]] = []
    for volume in spec.get("volumes") or ():
        sources += [volume, *((volume.get("projected") or {}).get("sources") or ())]
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        for origin in container.get("envFrom") or ():
            sources.append({"configMap": origin.get("configMapRef"), "secret": origin.get("secretRef")})
        for variable in container.get("env") or ():
            value = variable.get("valueFrom") or {}
            sources.append({"configMap": value.get("configMapKeyRef"), "secret": value.get("secretKeyRef")})
    for source in sources:
        if config_map := source.get("configMap"):
            config_maps.add(config_map["name"])
        if secret := source.get("secret"):
            secrets.add(secret.get("secretName") or secret["name"])
    return config_maps, secrets


def environment(
    pod: Object, container: Mapping[str, Any], references: References, address: str
) -> dict[str, str]:
    """Variables in the order in which later ones may refer to earlier ones.

    Raises:
        ConfigurationError: a ConfigMap, Secret, key or field that is not optional does not exist.
    """
    result = {"PATH": SEARCH_PATH, "HOSTNAME": pod["metadata"]["name"], "HOME": "/root"}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        if origin := source.get("configMapRef"):
            found = references.config_map(origin["name"], bool(origin.get("optional")))
        else:
            origin = source["secretRef"]
            found = references.secret(origin["name"], bool(origin.get("optional")))
        result |= {prefix + key: value.decode(errors="replace") for key, value in (found or {}).items()}
    for variable in container.get("env") or ():
        value = _value(variable, pod, container, references, address)
        if value is not None:
            result[variable["name"]] = expand(value, result)
    return result


def _value(
    variable: Mapping[str, Any],
    pod: Object,
    container: Mapping[str, Any],
    references: References,
    address: str,
) -> str | None:
    origin = variable.get("valueFrom")
    if not origin:
        return str(variable.get("value") or "")
    if field := origin.get("fieldRef"):
        return pod_field(pod, field["fieldPath"], address)
    if resource := origin.get("resourceFieldRef"):
        return resource_field(pod, container, resource)
    for kind, found_by in (("configMapKeyRef", references.config_map), ("secretKeyRef", references.secret)):
        if reference := origin.get(kind):
            optional = bool(reference.get("optional"))
            data = found_by(reference["name"], optional)
            if data is None:
                return None
            if reference["key"] not in data:
                _absent(f'key "{reference["key"]}" not found in {kind[:-6]} "{reference["name"]}"', optional)
                return None
            return data[reference["key"]].decode(errors="replace")
    raise ConfigurationError(f"env {variable['name']}: valueFrom {sorted(origin)} is not supported")


def pod_field(pod: Object, path: str, address: str) -> str:
    """A field of the downward API (core/v1 ObjectFieldSelector). Raises `ConfigurationError`."""
    metadata, spec = pod["metadata"], pod["spec"]
    simple = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata.get("namespace", ""),
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName") or "default",
        "status.podIP": address,
        "status.podIPs": address,
        "status.hostIP": "127.0.0.1",
    }
    if path in simple:
        return str(simple[path])
    matched = re.fullmatch(r"metadata\.(labels|annotations)(?:\['(.+)'\])?", path)
    if matched is None:
        raise ConfigurationError(
            f"fieldPath {path!r}: expected one of {', '.join(sorted(simple))}, metadata.labels['KEY']"
        )
    values = metadata.get(matched[1]) or {}
    if matched[2]:
        return str(values.get(matched[2], ""))
    return "\n".join(f'{key}="{_quoted(value)}"' for key, value in sorted(values.items()))


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(pod: Object, container: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    """`limits.cpu` and its like, as the container says; 0 where it says nothing."""
    named = reference.get("containerName")
    chosen = next((each for each in pod["spec"]["containers"] if each["name"] == named), container)
    section, _, resource = reference["resource"].partition(".")
    return str(((chosen.get("resources") or {}).get(section) or {}).get(resource, "0"))


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` becomes its value, `$$` becomes `$`; an unknown name stays as it is written."""

    def replace(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replace, text)


def arguments(container: Mapping[str, Any], variables: Mapping[str, str]) -> list[str]:
    """The program and its arguments. Raises `ConfigurationError`: the host has no default program."""
    written = [*(container.get("command") or ()), *(container.get("args") or ())]
    if not container.get("command"):
        raise ConfigurationError(
            f'container "{container["name"]}": image "host" has no program of its own; set `command`'
        )
    return [expand(word, variables) for word in written]
