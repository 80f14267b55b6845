"""`hauberk authz`: which policies decide on calls to a pod, and whom they let in."""

import click

from hauberk.cli.completing import complete_namespaces, complete_workloads
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import CommandError
from hauberk.cli.output import console, print_json, print_table
from hauberk.cli.policy_words import rows
from hauberk.cli.references import WorkloadReference
from hauberk.mesh.authorization import select_authorization_policies
from hauberk.mesh.registry import SECURITY, Labels, Mesh, Registry
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.model.workload_name import workload_name
from hauberk.store.http_client import HttpClient


@click.command("authz")
@click.argument("workload", shell_complete=complete_workloads)
@click.option(
    "-n", "--namespace", default="default", show_default=True, shell_complete=complete_namespaces,
    help="Of a name without one.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@asynchronous
async def command(context: Context, workload: str, namespace: str, output: str) -> int:
    """The authorization policies that decide on calls to WORKLOAD (NAMESPACE/NAME of a pod or what makes it).

    \b
    Examples:
      hauberk authz bank/ledger
      hauberk authz bank/db-0 -o json
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


async def pod_of(client: HttpClient, reference: WorkloadReference) -> Object:
    """The pod of that name, else one of those that the workload of that name made.

    Raises:
        CommandError: there is none.
    """
    pods = (await client.list(kinds.POD, reference.namespace)).items
    for name_of in (_name, workload_name):
        found = [pod for pod in pods if name_of(pod) == reference.name]
        if found:
            return min(found, key=_name)
    raise CommandError(
        f"workload {reference}: expected a pod of it, found none",
        f"hauberk get pods -n {reference.namespace}",
    )


def _name(pod: Object) -> str:
    return str(pod["metadata"]["name"])
