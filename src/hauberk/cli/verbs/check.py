"""`hauberk check`: what this machine can and cannot do."""

import click

from hauberk.cli.errors import ExitCode
from hauberk.cli.machine import Check, check_machine
from hauberk.cli.output import BAD, GOOD, print_json, print_table, styled

STYLES = {"ok": GOOD, "warn": "yellow", "fail": BAD}


@click.command("check")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def command(output: str) -> None:
    """Show what this machine can and cannot do; exit code 1 if something is missing that pods need.

    Rules, links and mounts are tried in namespaces that are gone afterwards; nothing is left behind.

    \b
    Examples:
      hauberk check
      hauberk check -o json
    """
    found = check_machine()
    if output == "json":
        print_json([each.to_json() for each in found])
    else:
        print_checks(found)
    if any(each.level == "fail" for each in found):
        raise SystemExit(ExitCode.FAILED)


def print_checks(found: list[Check]) -> None:
    """A row a thing; what to do about it below."""
    print_table(
        ("THING", "", "FOUND"),
        [(each.name, styled(each.level, STYLES[each.level]), each.says) for each in found],
    )
    for each in found:
        if each.remedy:
            click.echo(f"{each.name}: {each.remedy}")
