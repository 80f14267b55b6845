"""`hauberk why`: why a call was allowed or refused, ring by ring."""

import click

from hauberk.chain.record import Connection, Record, Request
from hauberk.chain.ring import Link, Ring, State
from hauberk.chain.why import Side, Why, explain
from hauberk.cli.completing import complete_namespaces, complete_workloads
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.node_api import connection_of, records
from hauberk.cli.output import BAD, DIM, GOOD, TITLE, console, print_json, styled
from hauberk.cli.proof import identity_link
from hauberk.cli.references import WorkloadReference
from hauberk.store.http_client import HttpClient

_MARKS = {
    State.VERIFIED: ("✔", GOOD),
    State.RECORDED: ("•", ""),
    State.FAILED: ("✘", BAD),
    State.ABSENT: ("○", DIM),
}


@click.command("why")
@click.argument(
    "call", nargs=-1, required=True, metavar="SOURCE DESTINATION | ID", shell_complete=complete_workloads
)
@click.option(
    "-n", "--namespace", default="default", show_default=True, shell_complete=complete_namespaces,
    help="Of names without one.",
)  # fmt: skip
@click.option("--verdict", type=click.Choice(["allow", "deny"]), help="The newest call with that verdict.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@asynchronous
async def command(
    context: Context, call: tuple[str, ...], namespace: str, verdict: str | None, output: str
) -> int:
    """Why the newest call from SOURCE to DESTINATION was allowed or refused, or the call with that ID (see `tap`).

    SOURCE and DESTINATION are NAMESPACE/NAME of a workload, a pod, a service or a service account.
    Every connection is recorded; requests are sampled, refused ones all kept: the answer says which it rests on.

    \b
    Examples:
      hauberk why bank/web bank/ledger
      hauberk why elsewhere/stranger bank/web --verdict deny
      hauberk why 5f0c9a3b1d2e4f60 -o json

    Exit code 0 if the call was allowed, 1 if it was refused or nothing is known of one.
    """
    async with context.connect() as client:
        answer = await ask(client, call, namespace, verdict or "")
    if output == "json":
        print_json(to_json(answer))
    else:
        print_why(answer)
    return ExitCode.OK if answer.verdict == "allow" else ExitCode.FAILED


async def ask(client: HttpClient, call: tuple[str, ...], namespace: str, verdict: str) -> Why:
    """The answer for a call named by its two ends or by its id.

    Raises:
        CommandError: nothing is recorded of such a call.
    """
    match call:
        case [identifier]:
            found = await records(client, id=identifier, limit=10)
        case [source, destination]:
            ends = [str(WorkloadReference.parse(word, namespace)) for word in (source, destination)]
            found = await records(
                client, source=ends[0], destination=ends[1], verdict=verdict, limit=200
            )  # fmt: skip
        case _:
            raise CommandError(
                f"expected two names or one id, found {len(call)} words",
                "for example: hauberk why bank/web bank/ledger",
                ExitCode.USAGE,
            )
    record = _best(found)
    if record is None:
        raise CommandError(
            f"no call {' → '.join(call)}{f' with verdict {verdict}' if verdict else ''} is recorded",
            "`hauberk edges` lists who calls whom, `hauberk tap` shows calls as they come",
        )
    request = record if isinstance(record, Request) else None
    connection = record if isinstance(record, Connection) else await connection_of(client, record)
    if connection is None:
        raise CommandError(
            f"request {record.id} is recorded, its connection no longer", "ask for a newer call"
        )
    return explain(
        connection,
        request,
        source_identity=await identity_link(client, connection.source, connection.time),
        destination_identity=await identity_link(client, connection.destination, connection.time),
    )


def _best(found: list[Record]) -> Record | None:
    """The newest record, the callee's proxy before the caller's: it decides."""
    inbound = [record for record in found if record.reporter == "inbound"]
    return next(iter(inbound or found), None)


def print_why(answer: Why) -> None:
    """The chain for people."""
    out = console()
    allowed = answer.verdict == "allow"
    out.print(styled("ALLOWED  " if allowed else "REFUSED  ", GOOD if allowed else BAD), end="")
    out.print(answer.sentence)
    for side in answer.sides:
        _print_side(side)
    out.print(styled("decision", TITLE))
    for link in (answer.policy, answer.call):
        _print_link(link)
    if answer.missing:
        out.print(styled("missing, and never assumed", TITLE))
        for ring in answer.missing:
            _print_link(next(link for side in answer.sides for link in side.links if link.ring == ring))


def _print_side(side: Side) -> None:
    console().print(styled(side.title, TITLE))
    for link in side.links:
        if link.state is not State.ABSENT or link.ring is Ring.IDENTITY:
            _print_link(link)


def _print_link(link: Link) -> None:
    mark, style = _MARKS[link.state]
    console().print(styled(f"  {mark} {link.ring:<9} {link.line}", style))


def to_json(answer: Why) -> dict[str, object]:
    """The chain for programs."""

    def link(each: Link) -> dict[str, object]:
        return {"ring": each.ring, "state": each.state, "line": each.line, "facts": each.facts}

    return {
        "verdict": answer.verdict,
        "sentence": answer.sentence,
        **{side.title: [link(each) for each in side.links] for side in answer.sides},
        "policy": link(answer.policy),
        "call": link(answer.call),
        "missing": list(answer.missing),
    }
