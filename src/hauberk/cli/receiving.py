"""A call as it comes to the proxy of the pod that it is for."""

from typing import Any

from hauberk.cli.callers import Caller
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.explaining import Answer, Call, Question, explain
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.http_client import HttpClient


async def receive(
    client: HttpClient, pod: Object, caller: Caller, call: Call, *, port: int | None = None
) -> Answer:
    """What `pod`'s proxy says; `port` is the pod's own where it is known already.

    Raises:
        CommandError: the pod has no address, or it is not known at which of its ports it is called.
    """
    metadata = pod["metadata"]
    address = (pod.get("status") or {}).get("podIP")
    if not address:
        raise CommandError(
            f"pod {metadata['namespace']}/{metadata['name']}: expected an address, found none yet"
        )
    target = port or await _own_port(client, pod, call)
    request = call.request(metadata["name"])
    question = Question(
        inbound=True,
        source=caller.address,
        destinations=[address],
        port=target,
        principal=caller.principal,
        server_name_known=caller.principal is None,
        protocols=_protocols(caller, http=request is not None),
        request=request,
    )
    answer = await explain(client, pod, question)
    return {
        "caller": caller.principal,
        "callee": f"{metadata['namespace']}/{metadata['name']}",
        "port": target,
        **answer,
    }


def _protocols(caller: Caller, *, http: bool) -> list[str]:
    """What a proxy of the mesh offers (ALPN), or what the bytes of a caller without one show."""
    if caller.principal is None:
        return ["http/1.1"] if http else []
    return ["istio-http", "h2"] if http else ["istio"]


async def _own_port(client: HttpClient, pod: Object, call: Call) -> int:
    """The pod's port behind a service's, if the host is a service that selects the pod; else the port as it is told."""
    namespace, labels = pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}
    containers = pod["spec"].get("containers") or ()
    named = {
        port["name"]: port["containerPort"]
        for container in containers
        for port in container.get("ports") or ()
        if port.get("name")
    }
    if call.port is None:
        ports = sorted({port["containerPort"] for one in containers for port in one.get("ports") or ()})
        if len(ports) == 1:
            return int(ports[0])
        raise CommandError(
            "URL: expected a port, found none", "for example: http://HOST:8080/", ExitCode.USAGE
        )
    for service in (await client.list(kinds.SERVICE, namespace)).items:
        spec: dict[str, Any] = service.get("spec") or {}
        selector = spec.get("selector") or {}
        selects = selector and all(labels.get(key) == value for key, value in selector.items())
        if not selects or (call.host and call.host.split(".")[0] != service["metadata"]["name"]):
            continue
        for port in spec.get("ports") or ():
            if port["port"] == call.port:
                target = port.get("targetPort") or call.port
                return int(named.get(target, call.port) if isinstance(target, str) else target)
    return call.port
