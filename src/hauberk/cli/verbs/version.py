"""`hauberk version`: of this program, and of the control plane."""

from importlib.metadata import version
from typing import Any

import click

from hauberk.cli.context import Context, asynchronous
from hauberk.cli.output import print_json


@click.command("version")
@click.option("--client", "client_only", is_flag=True, help="Do not ask the control plane.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@asynchronous
async def command(context: Context, client_only: bool, output: str) -> int:
    """Print the versions of this program and of the control plane; exit code 3 if that does not answer.

    \b
    Examples:
      hauberk version
      hauberk version --client -o json
    """
    found: dict[str, Any] = {"client": version("hauberk")}
    try:
        if not client_only:
            async with context.connect() as client:
                found["server"] = (await client.raw("GET", "/version"))["gitVersion"]
    finally:
        # Whatever the control plane says: this much is known.
        if output == "json":
            print_json(found)
        else:
            for name, value in found.items():
                click.echo(f"{name}: {value}")
    return 0
