"""`hauberk top`: the edges, live."""

import asyncio

import click

from hauberk.cli.completing import complete_namespaces
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.output import console
from hauberk.cli.verbs.edges import edges_of, print_edges


@click.command("top")
@click.option("--seconds", default=5, show_default=True, help="Between two pictures, and for the rates.")
@click.option(
    "-n", "--namespace", default="", shell_complete=complete_namespaces,
    help="Only edges that begin or end there.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(min=1), help="End after so many pictures.")
@asynchronous
async def command(context: Context, seconds: int, namespace: str, count: int | None) -> int:
    """The busiest edges of the mesh, again and again until Ctrl-C.

    \b
    Examples:
      hauberk top
      hauberk top -n bank --seconds 1 --count 10
    """
    shown = 0
    async with context.connect() as client:
        while count is None or shown < count:
            found = await edges_of(client, seconds, namespace)
            out = console()
            if out.is_terminal:
                out.clear()
            print_edges(found)
            shown += 1
            if shown != count:
                await asyncio.sleep(seconds)
    return 0
