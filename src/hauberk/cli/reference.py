"""`python -m hauberk.cli.reference`: the reference of the command line, written from the verbs themselves."""

import sys

import click

from hauberk.cli.__main__ import VERBS, hauberk

WIDTH = 100


def commands() -> str:
    """The text of docs/reference/commands.md."""
    parts = [
        "# Commands\n",
        "Written by `python -m hauberk.cli.reference` from the command line itself; do not edit it by hand.\n",
        "| verb | what it does |\n|---|---|",
        *(f"| [`{name}`](#hauberk-{name}) | {line} |" for name, line in VERBS.items()),
        "",
        _section("hauberk", hauberk, None),
    ]
    with click.Context(hauberk, info_name="hauberk") as group:
        for name in VERBS:
            command = hauberk.get_command(group, name)
            if command is None:
                raise LookupError(f"verb {name}: expected a command, found none")
            parts.append(_section(f"hauberk {name}", command, group))
    return "\n".join(parts)


def _section(title: str, command: click.Command, parent: click.Context | None) -> str:
    name = title.removeprefix("hauberk ")
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH
    )
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    return f"## {title}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    sys.stdout.write(commands())
