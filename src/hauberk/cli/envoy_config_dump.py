"""What a real Envoy runs, from its `/config_dump`, in the words of our own proxy's (pure)."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

Dump = Mapping[str, Any]

_DYNAMIC = {
    "listeners": ("dynamic_listeners", "listener"),
    "routes": ("dynamic_route_configs", "route_config"),
    "clusters": ("dynamic_active_clusters", "cluster"),
    "endpoints": ("dynamic_endpoint_configs", "endpoint_config"),
    "secrets": ("dynamic_active_secrets", "secret"),
}
"""Of each section: the list in one of the parts of the dump, and the resource in each of its entries."""


def is_envoys(dump: Dump) -> bool:
    """Whether this is Envoy's own form: `configs`, a list of parts."""
    return isinstance(dump.get("configs"), list)


def sections(dump: Dump) -> dict[str, list[dict[str, Any]]]:
    """Resources that the control plane or SDS sent, by section, each with its version; Envoy has left out keys."""
    return {section: list(_entries(dump, *where)) for section, where in _DYNAMIC.items()}


def certificates(answer: Dump) -> list[dict[str, Any]]:
    """The proxy's own certificates, from Envoy's `/certs`: each once, however many contexts use it.

    Moments are in seconds since the epoch. Envoy names no secrets there; what it shows of a sidecar is `default`.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in answer.get("certificates", ()):
        for told in entry.get("cert_chain", ())[:1]:
            names = [each["uri"] for each in told.get("subject_alt_names", ()) if "uri" in each]
            found[told["serial_number"]] = {
                "name": "default",
                "spiffe_id": next(iter(names), ""),
                "serial": told["serial_number"],
                "not_before": _seconds(told["valid_from"]),
                "not_after": _seconds(told["expiration_time"]),
            }
    return list(found.values())


def _seconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp())


def _entries(dump: Dump, listed: str, resource: str) -> Iterator[dict[str, Any]]:
    for part in dump["configs"]:
        for entry in part.get(listed, ()):
            # A listener has several states: the active one is what runs.
            state = entry.get("active_state", entry)
            if resource not in state:
                continue
            found = {key: value for key, value in state[resource].items() if key != "@type"}
            ours = found.get("metadata", {}).get("filter_metadata", {}).get("hauberk.io", {})
            yield found | dict(ours) | {"version": state.get("version_info", "")}
