"""`hauberk logs`: what a container, or a pod's proxy, has written."""

import sys
import time
from collections import deque
from pathlib import Path
from urllib.parse import urlencode

import click

from hauberk.cli.completing import complete_namespaces, complete_pods
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import CommandError
from hauberk.cli.pods import container_of, find_pod
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.http_client import path

NEW_LINES_SECONDS = 0.2


@click.command("logs")
@click.argument("pod", metavar="POD | KIND/NAME", shell_complete=complete_pods)
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Namespace. [default: the kubeconfig's]",
)  # fmt: skip
@click.option("-c", "--container", default="", help="Which container. [default: the first]")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written, until Ctrl-C.")
@click.option("--tail", type=click.IntRange(min=0), help="Only so many last lines.")
@click.option("--timestamps", is_flag=True, help="When each line was written.")
@click.option("-p", "--previous", is_flag=True, help="Of the container's run before this one.")
@click.option("--proxy", is_flag=True, help="The access log of the pod's proxy, if it runs on this machine.")
@asynchronous
async def command(
    context: Context,
    pod: str,
    namespace: str,
    container: str,
    follow: bool,
    tail: int | None,
    timestamps: bool,
    previous: bool,
    proxy: bool,
) -> int:
    """Print the output of a container, or the access log of a pod's proxy.

    \b
    Examples:
      hauberk logs web-1 -n bank --tail 20
      hauberk logs deploy/web -n bank -f
      hauberk logs deploy/web -n bank --proxy
    """
    async with context.connect() as client:
        where = namespace or client.connection.namespace
        found = await find_pod(client, where, pod)
        if proxy:
            _print_file(_access_log(context, found), tail, follow=follow)
            return 0
        query = {
            "container": container_of(found, container),
            "follow": "true" if follow else "",
            "tailLines": "" if tail is None else str(tail),
            "timestamps": "true" if timestamps else "",
            "previous": "true" if previous else "",
        }
        given = urlencode({name: value for name, value in query.items() if value})
        place = path(kinds.POD, where, found["metadata"]["name"], "log")
        async for chunk in client.chunks(f"{place}?{given}"):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
    return 0


def _access_log(context: Context, pod: Object) -> Path:
    metadata = pod["metadata"]
    log: Path = context.instance.run / "pods" / metadata["uid"] / "access.log"
    if not log.is_file():
        raise CommandError(
            f"access log of {metadata['namespace']}/{metadata['name']}: expected it at {log}, found nothing",
            "it is only there on the pod's own node, while the pod runs; `hauberk tap` shows calls from anywhere",
        )
    return log


def _print_file(log: Path, tail: int | None, *, follow: bool) -> None:
    with log.open("rb") as file:
        for line in deque(file, tail):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        while follow and log.exists():
            if written := file.read():
                sys.stdout.buffer.write(written)
                sys.stdout.buffer.flush()
            time.sleep(NEW_LINES_SECONDS)
