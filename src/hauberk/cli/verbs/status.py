"""`hauberk status`: whether everything is well."""

import asyncio

import click

from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import ExitCode
from hauberk.cli.output import BAD, GOOD, console, print_json, print_table, styled
from hauberk.cli.overview import Line, overview


@click.command("status")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
@click.option("-w", "--watch", is_flag=True, help="Again every two seconds, until Ctrl-C.")
@asynchronous
async def command(context: Context, output: str, watch: bool) -> int:
    """Show whether the control plane, nodes, pods, proxies and certificates are well; exit code 1 if one is not.

    \b
    Examples:
      hauberk status
      hauberk status --watch
      hauberk --instance try status -o json
    """
    async with context.connect() as client:
        while True:
            lines = await overview(context, client)
            out = console()
            if watch and out.is_terminal:
                out.clear()
            if output == "json":
                print_json([line.to_json() for line in lines])
            else:
                print_lines(lines)
            if not watch:
                return ExitCode.OK if all(line.well for line in lines) else ExitCode.FAILED
            await asyncio.sleep(2)


def print_lines(lines: list[Line]) -> None:
    """A row a line; below it, what to do about what is not well."""
    print_table(
        ("PART", "NAME", "", "STATE"),
        [
            (line.part, line.name, styled("ok", GOOD) if line.well else styled("not well", BAD), line.says)
            for line in lines
        ],
    )
    for line in lines:
        if line.remedy:
            click.echo(f"{line.part} {line.name}: {line.remedy}")
