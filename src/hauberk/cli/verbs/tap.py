"""`hauberk tap`: calls as they come."""

import click

from hauberk.chain.record import Connection, Record
from hauberk.chain.record_filter import MalformedFilterError, parse_filter
from hauberk.chain.why import dry_run_words
from hauberk.cli.completing import complete_namespaces, complete_workloads
from hauberk.cli.context import Context, asynchronous
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.node_api import Parameters, tap
from hauberk.cli.output import BAD, DIM, GOOD, console, duration, print_json_line, styled
from hauberk.cli.references import WorkloadReference


@click.command("tap")
@click.argument("destination", required=False, default="", shell_complete=complete_workloads)
@click.option("--from", "source", default="", help="Only calls of this workload (NAMESPACE/NAME).")
@click.option(
    "-n", "--namespace", default="default", show_default=True, shell_complete=complete_namespaces,
    help="Of names without one.",
)  # fmt: skip
@click.option("--verdict", type=click.Choice(["allow", "deny"]), help="Only calls with that verdict.")
@click.option("--type", "kind", type=click.Choice(["connection", "request"]), help="Only such records.")
@click.option(
    "--where",
    "filters",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Only where this holds of a field as `-o json` names it; also != < <= > >=, * for anything. Repeatable.",
)
@click.option("--count", type=click.IntRange(min=1), help="End after so many.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
@asynchronous
async def command(
    context: Context, destination: str, source: str, namespace: str, verdict: str | None,
    kind: str | None, filters: tuple[str, ...], count: int | None, output: str,
) -> int:  # fmt: skip
    """Calls as they come, to DESTINATION (NAMESPACE/NAME) or all of them, until Ctrl-C.

    \b
    Examples:
      hauberk tap bank/web
      hauberk tap --verdict deny -o json
      hauberk tap bank/ledger --from bank/web --type request --count 10
      hauberk tap bank/ledger --where 'status>=500' --where 'path=/pay/*'
      hauberk tap --where 'duration>250ms' --where 'source.spiffe_id=*/sa/web'

    While you watch, the proxies in the namespaces named (in all, if none is) record every request; else one in 64,
    and each that failed, was refused or audited.
    """
    for each in filters:
        _check(each)
    query: Parameters = {
        "where": filters,
        "destination": str(WorkloadReference.parse(destination, namespace)) if destination else "",
        "source": str(WorkloadReference.parse(source, namespace)) if source else "",
        "verdict": verdict or "",
        "type": kind or "",
    }
    seen = 0
    async with context.connect() as client:
        async for record in tap(client, query):
            if output == "json":
                print_json_line(record)
            else:
                _print(record)
            seen += 1
            if seen == count:
                break
    return 0


def _check(text: str) -> None:
    try:
        parse_filter(text)
    except MalformedFilterError as error:
        raise CommandError(
            f"--where: {error}", "hauberk tap -o json shows the fields", ExitCode.USAGE
        ) from error


def _print(record: Record) -> None:
    allowed = record.policy.verdict == "allow"
    verdict = styled(f"{record.policy.verdict:<5}", GOOD if allowed else BAD)
    identifier = record.id
    if isinstance(record, Connection):
        what = f"{record.phase:<5} {record.source.spiffe_id or record.source.address} → " + (
            record.destination.service or record.destination.spiffe_id or record.destination.address
        )
        took = f"{record.bytes_in}/{record.bytes_out} B" if record.phase == "close" else ""
    else:
        caller = record.source.spiffe_id or record.source.address
        what = f"{caller} {record.method} {record.authority}{record.path} → {record.status}".lstrip()
        took = duration(record.duration_us / 1000)
    out = console()
    out.print(styled(record.time[11:23] + " ", DIM), end="")
    out.print(verdict, end=" ")
    out.print(f"{record.reporter:<8} {what}  {took} {record.flags}".rstrip(), end=" ")
    if record.policy.audit:
        out.print(f"audited by {record.policy.audit}", end=" ")
    if record.policy.dry_run:
        out.print(f"dry run {dry_run_words(record.policy.dry_run)}", end=" ")
    out.print(styled(identifier, DIM))
