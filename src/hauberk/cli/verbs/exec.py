"""`hauberk exec`: a command in a container."""

import sys
from urllib.parse import urlencode

import click

from hauberk.cli.completing import complete_namespaces, complete_pods
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.pods import container_of, find_pod
from hauberk.cli.remote_command import PROTOCOL, join
from hauberk.model import kinds
from hauberk.store.http_client import path


@click.command("exec")
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Namespace. [default: the kubeconfig's]",
)  # fmt: skip
@click.option("-c", "--container", default="", help="Which container. [default: the first]")
@click.option("-i", "--stdin", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="On a terminal of its own.")
@click.argument("pod", metavar="POD | KIND/NAME", shell_complete=complete_pods)
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND [ARGUMENT]...")
@asynchronous
async def command(
    context: Context,
    namespace: str,
    container: str,
    stdin: bool,
    tty: bool,
    pod: str,
    words: tuple[str, ...],
) -> int:
    """Run a command in a container; its exit code is this one's.

    \b
    Examples:
      hauberk exec -n bank deploy/web -- id
      hauberk exec -n bank -it deploy/web -- sh
      echo SELECT 1 | hauberk exec -n bank -i db-0 -- psql -U postgres
    """
    if tty and not sys.stdin.isatty():
        raise click.UsageError("-t: expected standard input to be a terminal; leave -t out")
    async with context.connect() as client:
        where = namespace or client.connection.namespace
        found = await find_pod(client, where, pod)
        query = [("container", container_of(found, container)), ("stdout", "true")]
        query += [("stdin", "true")] if stdin else []
        query += [("tty", "true")] if tty else [("stderr", "true")]
        query += [("command", word) for word in words]
        place = path(kinds.POD, where, found["metadata"]["name"], "exec")
        async with client.websocket(f"{place}?{urlencode(query)}", PROTOCOL) as socket:
            return await join(socket, stdin=stdin, terminal=tty)
