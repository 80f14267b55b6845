"""`hauberk bug-report`: what those who mend Hauberk need to know, without secrets."""

import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from hauberk.cli import bug_report
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import CommandError
from hauberk.cli.machine import check_machine
from hauberk.cli.output import progress_console
from hauberk.cli.overview import overview
from hauberk.store.client import ApiError

LOGS = ("hauberkd.log", "hauberk-node.log")


@click.command("bug-report")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@asynchronous
async def command(context: Context, file: Path | None) -> int:
    """Collect versions, checks, states, logs and objects in FILE, a .tar.gz [default: hauberk-TIME.tar.gz].

    Data of Secrets and ConfigMaps, values of variables, keys and tokens are left out. Logs may name what your
    workloads call: look at it before you send it. Works, with less in it, when the control plane is away.

    \b
    Examples:
      hauberk bug-report
      hauberk --instance try bug-report try.tar.gz
    """
    target = file or Path(f"hauberk-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar.gz")
    versions = {
        "hauberk": version("hauberk"),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    progress_console().print("checking the machine …")
    files = {
        "version.json": bug_report.as_json(versions),
        "check.json": bug_report.as_json([each.to_json() for each in check_machine()]),
    }
    progress_console().print("asking the control plane …")
    try:
        async with context.connect() as client:
            try:
                files["status.json"] = bug_report.as_json(
                    [e.to_json() for e in await overview(context, client)]
                )
                files["proxy-status.json"] = bug_report.as_json(
                    await client.raw("GET", "/hauberk/v1/proxy-status")
                )
                files |= await bug_report.objects(client)
            except* ApiError as errors:
                files["control-plane-error.txt"] = f"{errors.exceptions[0]}\n".encode()
    except CommandError as error:
        files["control-plane-error.txt"] = f"{error}\n".encode()
    for name in LOGS:
        log = context.instance.state / name
        if log.is_file():
            files[f"logs/{name}"] = bug_report.log_end(log)
    try:
        bug_report.write(target, files)
    except OSError as error:
        raise CommandError(f"{target}: cannot be written: {error}", "name another FILE") from error
    for name, content in files.items():
        click.echo(f"  {name:<60} {len(content)} bytes")
    click.echo(f"{target}: without Secrets' and ConfigMaps' data, variables' values, keys and tokens")
    return 0
