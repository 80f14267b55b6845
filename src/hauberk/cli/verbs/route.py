"""`hauberk route`: where a call goes."""

from typing import Any

import click

from hauberk.cli.callers import Caller, caller_of
from hauberk.cli.completing import complete_namespaces, complete_workloads
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.explained import inbound_lines, outbound_lines
from hauberk.cli.explaining import Answer, Call, Question, explain
from hauberk.cli.output import console, print_json
from hauberk.cli.pods import pod_of
from hauberk.cli.receiving import receive
from hauberk.cli.references import WorkloadReference
from hauberk.mesh.registry import Mesh
from hauberk.store.http_client import HttpClient


@click.group("route")
def command() -> None:
    """Where a call goes, and what is done to it on its way.

    \b
    Examples:
      hauberk route explain GET http://ledger:8080/accounts --from bank/web
    """


@command.command("explain")
@click.argument("method")
@click.argument("url")
@click.option(
    "--from",
    "caller",
    required=True,
    shell_complete=complete_workloads,
    help="Whose proxy decides: a pod, or what makes pods.",
)
@click.option("--to", "callee", shell_complete=complete_workloads, help="Ask the proxy of this pod as well.")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of the request."
)
@click.option(
    "-n", "--namespace", default="default", show_default=True, shell_complete=complete_namespaces,
    help="Of a name without one.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@asynchronous
async def explain_command(
    context: Context,
    method: str,
    url: str,
    caller: str,
    callee: str | None,
    headers: tuple[str, ...],
    namespace: str,
    output: str,
) -> int:
    """Which virtual host, route, cluster and endpoints a call takes, with its timeout and retries.

    The engine of the caller's own proxy answers, from what the control plane intends for it; nothing is
    sent. With `--to` the proxy of that pod says whether it would let the call in, as `hauberk authz check`
    does.

    \\b
    Examples:
      hauberk route explain GET http://ledger:8080/accounts --from bank/web
      hauberk route explain GET http://ledger.bank/ --from bank/web --to bank/ledger -o json
    """
    call = Call.parse(method, url, headers)
    async with context.connect() as client:
        who = await caller_of(client, caller, namespace)
        sent = await send(client, who, call)
        received: Answer | None = None
        if callee is not None:
            pod = await pod_of(client, WorkloadReference.parse(callee, namespace))
            received = await receive(client, pod, who, call, port=_port_at(sent, pod))
    if output == "json":
        print_json({"outbound": sent, "inbound": received})
    else:
        console().print(f"{call.method} {url}, by {who}")
        for line in outbound_lines(sent):
            console().print(line)
        if received is not None:
            for line in inbound_lines(received, who, call):
                console().print(line)
    return 1 if sent.get("allowed") is False or (received is not None and not received["allowed"]) else 0


async def send(client: HttpClient, caller: Caller, call: Call) -> Answer:
    if caller.pod is None:
        raise CommandError(
            "--from: expected a pod or what makes pods: routes are those of the caller's own proxy",
            "hauberk get pods",
            ExitCode.USAGE,
        )
    if not call.host or call.port is None:
        raise CommandError(
            "URL: expected a host and a port", "for example: http://ledger:8080/", ExitCode.USAGE
        )
    domain = Mesh().cluster_domain
    searched = (f"{caller.pod['metadata']['namespace']}.svc.{domain}", f"svc.{domain}", domain)
    question = Question(
        inbound=False,
        source=caller.address,
        destinations=[*(f"{call.host}.{suffix}" for suffix in searched), call.host],
        port=call.port,
        principal=None,
        protocols=["http/1.1"] if call.is_http else [],
        request=call.request(call.host),
    )
    return await explain(client, caller.pod, question)


def _port_at(sent: Answer, pod: dict[str, Any]) -> int | None:
    """The pod's port, if its address is one of the endpoints."""
    address = (pod.get("status") or {}).get("podIP")
    forward = (sent.get("route") or {}).get("forward") or {}
    for cluster in [*forward.get("clusters", ()), *filter(None, [sent.get("cluster")])]:
        for endpoint in cluster["endpoints"]:
            host, _, port = str(endpoint["address"]).rpartition(":")
            if host == address:
                return int(port)
    return None
