"""`hauberk top`: the edges, live."""

import asyncio

import click

from hauberk.cli.context import Context, asynchronous
from hauberk.cli.node_api import edges
from hauberk.cli.output import console
from hauberk.cli.verbs.edges import print_edges


@click.command("top")
@click.option("--seconds", default=5, show_default=True, help="Between two pictures, and for the rates.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many pictures.")
@asynchronous
async def command(context: Context, seconds: int, count: int | None) -> int:
    """The busiest edges of the mesh, again and again until Ctrl-C.

    \b
    Examples:
      hauberk top
      hauberk top --seconds 1 --count 10
    """
    shown = 0
    async with context.connect() as client:
        while count is None or shown < count:
            found = await edges(client, seconds)
            out = console()
            if out.is_terminal:
                out.clear()
            print_edges(found)
            shown += 1
            if shown != count:
                await asyncio.sleep(seconds)
    return 0
