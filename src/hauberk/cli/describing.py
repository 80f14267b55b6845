"""An object as indented lines; pods get their containers and conditions first. Pure but for the clock."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hauberk.cli.last_applied import ANNOTATION
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.tables import human_age

WIDTH = 22


def lines_of(kind: Kind, obj: Object) -> Iterator[str]:
    """The lines, without a last one for events."""
    metadata = obj["metadata"]
    yield _pair("Name", metadata["name"])
    if metadata.get("namespace"):
        yield _pair("Namespace", metadata["namespace"])
    yield _pair("Kind", f"{kind.name} ({kind.api_version})")
    yield _pair("Created", f"{metadata['creationTimestamp']} ({age(metadata['creationTimestamp'])} ago)")
    yield from _map("Labels", metadata.get("labels") or {})
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != ANNOTATION}
    yield from _map("Annotations", annotations)
    for owner in metadata.get("ownerReferences") or ():
        yield _pair(
            "Controlled by" if owner.get("controller") else "Owner", f"{owner['kind']}/{owner['name']}"
        )
    if metadata.get("deletionTimestamp"):
        yield _pair("Terminating since", metadata["deletionTimestamp"])
    if kind is kinds.POD:
        yield from _pod(obj)
        return
    for section, value in obj.items():
        if section in {"apiVersion", "kind", "metadata"} or value in (None, {}, []):
            continue
        if kind.sensitive and section in {"data", "stringData"}:
            shown = {key: f"{_decoded_size(text)} bytes" for key, text in value.items()}
        else:
            shown = value
        yield f"{section[0].upper()}{section[1:]}:"
        yield from tree(shown, "  ")


def tree(value: Any, indent: str) -> Iterator[str]:
    """Nested values, a scalar a line."""
    if isinstance(value, dict):
        for key, below in value.items():
            if isinstance(below, dict | list) and below:
                yield f"{indent}{key}:"
                yield from tree(below, indent + "  ")
            else:
                yield from _text(f"{indent}{key}: ", below)
    elif isinstance(value, list):
        for item in value:
            lines = list(tree(item, indent + "  "))
            first = lines[0][len(indent) + 2 :] if lines else ""
            yield f"{indent}- {first}"
            yield from lines[1:]
    else:
        yield from _text(indent, value)


def age(since: str | None) -> str:
    """How long ago an RFC 3339 time was, as kubectl prints ages; `-` for none."""
    if not since:
        return "-"
    return human_age((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())


def _pod(pod: Object) -> Iterator[str]:
    spec, status = pod["spec"], pod.get("status") or {}
    yield _pair("Node", spec.get("nodeName") or "<not scheduled>")
    yield _pair("Service account", spec.get("serviceAccountName", "default"))
    yield _pair("Phase", status.get("phase", "Pending"))
    if status.get("reason") or status.get("message"):
        yield _pair("Because", f"{status.get('reason', '')} {status.get('message', '')}".strip())
    yield _pair("Address", status.get("podIP", "-"))
    yield "Conditions:"
    for each in status.get("conditions") or ():
        why = f"  {each.get('reason', '')} {each.get('message', '')}".rstrip()
        yield f"  {each['type']:<20} {each['status']}{why}"
    for title, key in (("Init containers", "initContainers"), ("Containers", "containers")):
        if spec.get(key):
            yield f"{title}:"
            statuses = {each["name"]: each for each in status.get(key[:-1] + "Statuses") or ()}
            for container in spec[key]:
                yield from _container(container, statuses.get(container["name"], {}))
    if spec.get("volumes"):
        yield "Volumes:"
        yield from tree(spec["volumes"], "  ")


def _container(container: Object, status: Object) -> Iterator[str]:
    yield f"  {container['name']}:"
    rest = {key: value for key, value in container.items() if key != "name" and value not in ({}, [])}
    yield f"    state: {_state(status.get('state') or {})}"
    if status.get("lastState"):
        yield f"    last state: {_state(status['lastState'])}"
    yield f"    ready: {str(status.get('ready', False)).lower()}"
    yield f"    restarts: {status.get('restartCount', 0)}"
    yield from tree(rest, "    ")


def _state(state: Object) -> str:
    for name, detail in state.items():
        said = [str(detail[key]) for key in ("reason", "message") if detail.get(key)]
        if name == "terminated":
            said.insert(0, f"exit code {detail.get('exitCode')}")
        if detail.get("startedAt"):
            said.append(f"since {detail['startedAt']}")
        return f"{name} ({', '.join(said)})" if said else str(name)
    return "not started"


def _pair(name: str, value: Any) -> str:
    return f"{name + ':':<{WIDTH}}{value}"


def _map(name: str, values: dict[str, str]) -> Iterator[str]:
    lines = [f"{key}={value}" for key, value in values.items()] or ["<none>"]
    yield _pair(name, lines[0])
    for line in lines[1:]:
        yield " " * WIDTH + line


def _text(start: str, value: Any) -> Iterator[str]:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if "\n" not in text:
        yield f"{start}{text}"
        return
    yield f"{start}|"
    below = " " * (len(start) - len(start.lstrip()) + 2)
    for line in text.rstrip("\n").split("\n"):
        yield f"{below}{line}"


def _decoded_size(encoded: str) -> int:
    return len(encoded.rstrip("=")) * 3 // 4
