"""`hauberk authz`: which policies decide on calls to a pod, and what they say of one call."""

from typing import Any

import click

from hauberk.cli.callers import ANONYMOUS, caller_of
from hauberk.cli.completing import complete_namespaces, complete_workloads
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.explained import inbound_lines
from hauberk.cli.explaining import Call
from hauberk.cli.output import console, print_json, print_table
from hauberk.cli.pods import pod_of
from hauberk.cli.policy_words import rows
from hauberk.cli.receiving import receive
from hauberk.cli.references import WorkloadReference
from hauberk.mesh.authorization import select_authorization_policies
from hauberk.mesh.registry import SECURITY, Labels, Mesh, Registry
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.http_client import HttpClient


class _Group(click.Group):
    """`hauberk authz WORKLOAD` is short for `hauberk authz show WORKLOAD`."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group("authz", cls=_Group)
def command() -> None:
    """The authorization policies that decide on calls to a workload, and what they say of one call.

    `hauberk authz WORKLOAD` is short for `hauberk authz show WORKLOAD`.

    \b
    Examples:
      hauberk authz bank/ledger
      hauberk authz check --from bank/web --to bank/ledger GET http://ledger:8080/accounts
    """


_NAMESPACE = click.option(
    "-n", "--namespace", default="default", show_default=True, shell_complete=complete_namespaces,
    help="Of a name without one.",
)  # fmt: skip


@command.command("show")
@click.argument("workload", shell_complete=complete_workloads)
@_NAMESPACE
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@asynchronous
async def show(context: Context, workload: str, namespace: str, output: str) -> int:
    """The authorization policies that decide on calls to WORKLOAD (NAMESPACE/NAME of a pod or what makes it).

    \b
    Examples:
      hauberk authz show bank/ledger
      hauberk authz show bank/db-0 -o json
    """
    reference = WorkloadReference.parse(workload, namespace)
    async with context.connect() as client:
        pod = await pod_of(client, reference)
        policies = await policies_for(client, pod)
    if output == "json":
        print_json(policies)
        return 0
    if not policies:
        console().print(f"No policy applies to {reference}: every identity of the mesh may call it.")
        return 0
    print_table(("POLICY", "ACTION", "FROM", "TO"), [row for policy in policies for row in rows(policy)])
    return 0


@command.command("check")
@click.argument("method")
@click.argument("url")
@click.option(
    "--from", "caller", required=True, shell_complete=complete_workloads,
    help=f"Who calls: a pod, what makes pods, a service account, or `{ANONYMOUS}`.",
)  # fmt: skip
@click.option("--to", "callee", required=True, shell_complete=complete_workloads, help="Whose proxy decides.")
@click.option(
    "-H", "--header", "headers", multiple=True, metavar="NAME: VALUE", help="A header of the request."
)
@_NAMESPACE
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@asynchronous
async def check(
    context: Context,
    method: str,
    url: str,
    caller: str,
    callee: str,
    headers: tuple[str, ...],
    namespace: str,
    output: str,
) -> int:
    """Whether a call would be allowed by the proxy of the pod that it goes to, by which policy, and why.

    The engine of the proxy itself answers, from what the control plane intends for that pod. URL has the
    port that the caller would use: a service's, or the pod's own; `tcp://HOST:PORT` is a connection without
    requests. Exit code 1: the call is refused, or it depends on what is not known.

    \b
    Examples:
      hauberk authz check --from bank/web --to bank/ledger GET http://ledger:8080/accounts
      hauberk authz check --from anonymous --to bank/ledger DELETE :8080/accounts -o json
    """
    call = Call.parse(method, url, headers)
    async with context.connect() as client:
        who = await caller_of(client, caller, namespace)
        pod = await pod_of(client, WorkloadReference.parse(callee, namespace))
        answer: dict[str, Any] = await receive(client, pod, who, call)
    if output == "json":
        print_json(answer)
    else:
        for line in inbound_lines(answer, who, call):
            console().print(line)
    return 0 if answer["allowed"] else 1


async def policies_for(client: HttpClient, pod: Object) -> list[Object]:
    """The policies of the pod's namespace and of the root namespace that the control plane applies to the pod."""
    mesh, namespace = Mesh(), pod["metadata"]["namespace"]
    listed = [
        policy
        for where in dict.fromkeys((mesh.root_namespace, namespace))
        for policy in (await client.list(kinds.AUTHORIZATION_POLICY, where)).items
    ]
    told = Registry().update(listed).of_kind(SECURITY, "AuthorizationPolicy")
    labels = Labels.of(pod["metadata"].get("labels"))
    by_key = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in listed}
    return [by_key[one.key] for one in select_authorization_policies(told, namespace, labels, mesh)]
