"""`hauberk up`: an instance on this machine, and in it what a directory of manifests describes."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, get_args

import click

from hauberk.cli import processes
from hauberk.cli.applying import apply_objects, read_manifests
from hauberk.cli.context import Context, asynchronous, wait_for
from hauberk.cli.drive import drive, gateway_address
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.node_api import edges
from hauberk.cli.output import BAD, GOOD, TITLE, console, progress_console, styled
from hauberk.cli.readiness import Progress, obstacles, progress
from hauberk.cli.tour import MalformedTourError, Tour, read_tour
from hauberk.cli.verbs.edges import print_edges
from hauberk.cli.verbs.why import ask, print_why
from hauberk.cli.workloads import print_workloads
from hauberk.model.kind import Object
from hauberk.node.proxy_driver import ProxyName
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient

RECORD_SECONDS = 10.0
EDGE_SECONDS = 30


@click.command("up")
@click.argument("directory", type=click.Path(exists=True, path_type=Path))
@click.option("-d", "--detach", is_flag=True, help="Return once everything runs, and leave it running.")
@click.option(
    "--proxy",
    type=click.Choice(get_args(ProxyName)),
    help="What carries each pod's calls: our own proxy, unless told, or a real Envoy, which keeps no call records.",
)
@click.option("--timeout", default=120, show_default=True, help="Seconds for everything to become ready.")
@asynchronous
async def command(
    context: Context, directory: Path, detach: bool, proxy: ProxyName | None, timeout: int
) -> int:
    """Start a control plane and a node on this machine, apply the manifests in DIRECTORY, wait until they run.

    With a tour.yaml in DIRECTORY, also takes the tour: drives requests and shows why calls were allowed or refused.
    In a terminal it stays until Ctrl-C and then ends all that it started; without one it ends at once with exit
    code 0, or 1 and what failed. An instance that ran before is left running. The state stays: see `hauberk down`.

    \b
    Examples:
      hauberk up examples/bank
      hauberk --instance try up -d ./manifests
      hauberk up examples/bank --proxy envoy
    """
    if os.geteuid() != 0:
        raise CommandError(
            "expected to run as root, which namespaces and their rules need",
            f"sudo {' '.join(sys.argv)}",
        )
    tour = _tour(directory)
    located = read_manifests([directory], without={"tour.yaml"})
    began = time.monotonic()
    started = False
    try:
        started = await processes.start(context.instance, _report, proxy=proxy)
        async with context.connect() as client:
            await _report(f"applying {len(located)} objects")
            await apply_objects(client, located)
            applied = [each.object for each in located]
            await _until_ready(client, applied, timeout)
            await _report(f"everything runs after {time.monotonic() - began:.1f} s")
            good = tour is None or await _take(client, tour, applied, recorded=_recorded(context))
        if detach or not started:
            return ExitCode.OK if good else ExitCode.FAILED
        if sys.stdin.isatty() and sys.stdout.isatty():
            await _stay()
        return ExitCode.OK if good else ExitCode.FAILED
    finally:
        if started and not detach:
            await _take_down(context)


async def _report(what: str) -> None:
    progress_console().print(styled(f"· {what}", "cyan"))


def _tour(directory: Path) -> Tour | None:
    try:
        return read_tour(directory)
    except MalformedTourError as error:
        raise CommandError(str(error), "mend the file, or move it away", ExitCode.USAGE) from error


async def _until_ready(client: HttpClient, applied: list[Object], seconds: int) -> None:
    said: dict[tuple[str, str], str] = {}

    async def all_ready() -> bool:
        now = await progress(client, applied)
        for each in now:
            await _say(each, said)
            if each.failed:
                await _give_up(client, applied, f"{each.kind} {each.namespace}/{each.name} failed")
        return all(each.done for each in now)

    try:
        await wait_for(all_ready, seconds=seconds, what="expected every workload to be ready")
    except CommandError as error:
        await _give_up(client, applied, str(error))


async def _say(each: Progress, said: dict[tuple[str, str], str]) -> None:
    key = (each.kind, f"{each.namespace}/{each.name}")
    if said.get(key) != each.line:
        said[key] = each.line
        await _report(f"{each.kind} {each.namespace}/{each.name}: {each.line}")


async def _give_up(client: HttpClient, applied: list[Object], why: str) -> None:
    namespaces = {each["metadata"].get("namespace") or "default" for each in applied}
    lines = "\n  ".join(await obstacles(client, namespaces))
    raise CommandError(f"{why}\n  {lines}", "hauberk describe pod NAME -n NAMESPACE; hauberk logs NAME")


def _recorded(context: Context) -> bool:
    """Whether the node's proxies keep call records, of which edges and proofs are made."""
    node = context.instance.node()
    return node is not None and node["proxy"] == "hauberk"


async def _take(client: HttpClient, tour: Tour, applied: list[Object], *, recorded: bool) -> bool:
    """Takes the tour; whether everything came as it says."""
    out = console()
    address = await gateway_address(client, tour.gateway)
    out.print(styled(f"\nRequests to {address}", TITLE))
    good = True
    for what in tour.requests:
        outcome = await drive(address, what)
        good &= outcome.ok
        mark = styled("✔", GOOD) if outcome.ok else styled("✘", BAD)
        out.print("  ", end="")
        out.print(mark, end=f" {what.say}: {outcome.good} of {what.repeat} answered {what.expect}")
        out.print(f"; {outcome.surprise}" if outcome.surprise else "")
    out.print(styled("\nWorkloads", TITLE))
    await print_workloads(client, {each["metadata"].get("namespace") or "default" for each in applied})
    if recorded:
        good &= await _show_calls(client, tour)
    else:
        out.print("\nEnvoy keeps no call records: there are no edges and no proofs to show.")
    if tour.try_:
        out.print(styled("\nTry next, in another terminal", TITLE))
        for line in tour.try_:
            out.print(f"  {line}")
        out.print(f"  curl -H 'Host: {tour.requests[0].host}' {address}/" if tour.requests else "")
    return good


async def _show_calls(client: HttpClient, tour: Tour) -> bool:
    """Who called whom, and why calls were allowed or refused; whether each was found."""
    out = console()
    out.print(styled("\nEdges", TITLE))
    print_edges(await _edges_with(client, sum(what.repeat for what in tour.requests)))
    good = True
    for question in tour.why:
        out.print(styled(f"\n{question.say}: hauberk why {question.source} {question.destination}", TITLE))
        good &= await _explain(client, question.source, question.destination, question.verdict)
    return good


async def _edges_with(client: HttpClient, requests: int) -> list[dict[str, Any]]:
    """The edges, once the node has counted the requests that were just made: it looks every few seconds."""
    least = 0.9 * requests / EDGE_SECONDS
    found: list[dict[str, Any]] = []

    async def counted() -> bool:
        nonlocal found
        found = await edges(client, EDGE_SECONDS)
        return max((edge["requests_per_second"] or 0 for edge in found), default=0) >= least

    try:
        await wait_for(counted, seconds=RECORD_SECONDS, what="expected the requests to be counted")
    except CommandError as error:
        console().print(styled(f"✘ {error}", BAD))
    return found


async def _explain(client: HttpClient, source: str, destination: str, verdict: str) -> bool:
    """Shows why; the record of a call that was just made may be a moment behind."""
    found = None

    async def known() -> bool:
        nonlocal found
        try:
            found = await ask(client, (source, destination), "default", verdict)
        except CommandError:
            return False
        return True

    try:
        await wait_for(
            known,
            seconds=RECORD_SECONDS,
            what=f"expected a call {source} → {destination} with verdict {verdict}",
        )
    except CommandError as error:
        console().print(styled(f"✘ {error}", BAD))
        return False
    if found is not None:
        print_why(found)
    return True


async def _stay() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    console().print("\nRunning. Ctrl-C ends it and leaves nothing behind.")
    await stop.wait()


async def _take_down(context: Context) -> None:
    try:
        await processes.stop(context.instance, _report)
    except (CommandError, ApiError) as error:
        progress_console().print(styled(f"✘ {error}", BAD))
        raise
