"""Whether an instance is well: control plane, nodes, pods, proxies, certificates; read once, judged in place."""

import asyncio
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509

from hauberk.cli.context import Context
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient
from hauberk.store.kubeconfig import read_kubeconfig
from hauberk.store.tables import human_age

SOON = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at."""

    part: str
    """`control plane`, `node`, `pods`, `proxies` or `certificate`."""
    name: str
    well: bool
    says: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


async def overview(context: Context, client: HttpClient) -> list[Line]:
    """Looks at everything. Raises `ApiError` if the control plane does not answer."""
    async with asyncio.TaskGroup() as group:
        version = group.create_task(client.raw("GET", "/version"))
        nodes = group.create_task(client.list(kinds.NODE))
        pods = group.create_task(client.list(kinds.POD))
        proxies = group.create_task(_proxies(client))
    daemon = context.instance.daemon()
    process = f", PID {daemon['pid']}" if daemon and daemon.get("api") == client.connection.server else ""
    answers = f"answers at {client.connection.server}, version {version.result()['gitVersion']}{process}"
    lines = [Line("control plane", "hauberkd", True, answers)]
    lines += [_node(node) for node in nodes.result().items]
    if not nodes.result().items:
        lines.append(Line("node", "-", False, "there is none", "is hauberk-node running? `hauberk up`"))
    lines += _pods(pods.result().items)
    lines += _judge_proxies(proxies.result())
    return lines + _certificates(context, client)


def _node(node: Object) -> Line:
    conditions = (node.get("status") or {}).get("conditions") or ()
    ready = next((each for each in conditions if each["type"] == "Ready"), {"status": "Unknown"})
    well = ready["status"] == "True"
    says = "ready" if well else f"not ready: {ready.get('message') or ready.get('reason') or ready['status']}"
    return Line(
        "node", node["metadata"]["name"], well, says, "" if well else "see its log: `hauberk bug-report`"
    )


def _pods(pods: list[Object]) -> list[Line]:
    lines = []
    for namespace in sorted({pod["metadata"]["namespace"] for pod in pods}):
        within = [pod for pod in pods if pod["metadata"]["namespace"] == namespace]
        ended = [pod for pod in within if _phase(pod) == "Succeeded"]
        waiting = [pod["metadata"]["name"] for pod in within if pod not in ended and not is_ready(pod)]
        says = f"{len(within) - len(ended) - len(waiting)} of {len(within) - len(ended)} ready"
        says += f", {len(ended)} completed" if ended else ""
        says += f"; not ready: {', '.join(waiting)}" if waiting else ""
        remedy = f"hauberk describe pod {waiting[0]} -n {namespace}" if waiting else ""
        lines.append(Line("pods", namespace, not waiting, says, remedy))
    return lines


def _phase(pod: Object) -> str:
    return str((pod.get("status") or {}).get("phase", "Pending"))


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


async def _proxies(client: HttpClient) -> list[dict[str, Any]] | None:
    """None at an API server that is not Hauberk's."""
    try:
        answer = await client.raw("GET", "/hauberk/v1/proxy-status")
    except ApiError as error:
        if error.code == 404:
            return None
        raise
    found: list[dict[str, Any]] = answer["proxies"]
    return found


def _judge_proxies(proxies: list[dict[str, Any]] | None) -> list[Line]:
    if proxies is None:
        return []
    behind = [
        f"{each['name']}.{each['namespace']} ({', '.join(wrong)})"
        for each in proxies
        if (
            wrong := [
                f"{t['type']} {t['agreement']}" for t in each["types"] if t["agreement"] in ("STALE", "NACK")
            ]
        )
    ]
    says = f"{len(proxies) - len(behind)} of {len(proxies)} in sync"
    says += f"; not: {', '.join(behind)}" if behind else ""
    return [Line("proxies", "-", not behind, says, "hauberk proxy-status" if behind else "")]


def _certificates(context: Context, client: HttpClient) -> list[Line]:
    now = datetime.now(UTC)
    pems = [
        ("root", client.connection.certificate_authority),
        (f"client ({context.find_kubeconfig().name})", client.connection.client_certificate),
    ]
    folder: Path = context.instance.state / "node"
    if folder.is_dir():
        pems += [
            (f"node {file.stem}", read_kubeconfig(file).client_certificate)
            for file in folder.glob("*.kubeconfig")
        ]
    return [_certificate(name, pem, now) for name, pem in pems if pem]


def _certificate(name: str, pem: bytes, now: datetime) -> Line:
    left = min(each.not_valid_after_utc for each in x509.load_pem_x509_certificates(pem)) - now
    if left < timedelta(0):
        return Line("certificate", name, False, "has expired", "start hauberkd again: it writes new ones")
    says = f"expires in {human_age(left.total_seconds())}"
    return Line("certificate", name, True, says + (", soon" if left < SOON else ""))
