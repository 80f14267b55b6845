"""The objects of the soak: a service of three replicas, a caller that is allowed and one that is not."""

from pathlib import Path
from typing import Any

NAMESPACE = "soak"
REPLICAS = 3
PROGRAMS = Path(__file__).with_name("programs")
KINDS = ("fast", "post", "upload", "big", "slow", "closing", "failing", "hang", "broken")
CALLERS = {"caller": ",".join(("fast",) * 6 + ("post",) * 3 + KINDS), "stranger": "stranger"}

Object = dict[str, Any]


def objects() -> list[Object]:
    """All of them, in the order in which they can be applied."""
    programs = {file.name: file.read_text() for file in PROGRAMS.glob("*.py")}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        *(_object("v1", "ServiceAccount", name, {}) for name in ("service", *CALLERS)),
        _object("v1", "ConfigMap", "programs", {"data": programs}),
        _deployment("service", REPLICAS, ["server.py"], probe=True),
        _object("v1", "Service", "service", {"spec": {
            "selector": {"app": "service"}, "ports": [{"name": "http", "port": 8000, "targetPort": 8000}],
        }}),
        _istio("security", "PeerAuthentication", "default", {"mtls": {"mode": "STRICT"}}),
        _istio("security", "AuthorizationPolicy", "callers", {
            "selector": {"matchLabels": {"app": "service"}}, "action": "ALLOW",
            "rules": [{"from": [{"source": {"principals": [f"cluster.local/ns/{NAMESPACE}/sa/caller"]}}]}],
        }),
        _istio("networking", "VirtualService", "service", {"hosts": ["service"], "http": [{
            "route": [{"destination": {"host": "service"}}], "timeout": "2s",
            "retries": {"attempts": 2, "retryOn": "connect-failure,refused-stream,reset-before-request"},
        }]}),
        *(_deployment(name, 1, ["caller.py", kinds, "4"]) for name, kinds in CALLERS.items()),
    ]  # fmt: skip


def deny(kind: str) -> Object:
    """A policy that refuses one kind of call."""
    return _istio("security", "AuthorizationPolicy", "deny", {
        "selector": {"matchLabels": {"app": "service"}}, "action": "DENY",
        "rules": [{"to": [{"operation": {"paths": [f"/{kind}"]}}]}],
    })  # fmt: skip


def _deployment(name: str, replicas: int, command: list[str], *, probe: bool = False) -> Object:
    container: Object = {
        "name": "main", "image": "host",
        "command": ["/usr/bin/python3", "-u", f"/srv/programs/{command[0]}", *command[1:]],
        "volumeMounts": [{"name": "programs", "mountPath": "/srv/programs", "readOnly": True}],
    }  # fmt: skip
    if probe:
        container["readinessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
    return _object("apps/v1", "Deployment", name, {"spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {
                "serviceAccountName": name, "terminationGracePeriodSeconds": 10, "containers": [container],
                "volumes": [{"name": "programs", "configMap": {"name": "programs"}}],
            },
        },
    }})  # fmt: skip


def _istio(group: str, kind: str, name: str, spec: Object) -> Object:
    return _object(f"{group}.istio.io/v1", kind, name, {"spec": spec})


def _object(api_version: str, kind: str, name: str, rest: Object) -> Object:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        **rest,
    }
