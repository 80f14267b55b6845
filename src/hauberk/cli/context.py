"""What every verb is given: which instance, which kubeconfig, which namespace."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click

from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.instance import Instance
from hauberk.store.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Context:
    """The global options of the command line, parsed."""

    instance: Instance
    kubeconfig: Path | None

    def find_kubeconfig(self) -> Path:
        """The kubeconfig to use: `--kubeconfig`, the instance's own, `$KUBECONFIG`, `~/.kube/config`.

        Raises:
            CommandError: there is none.
        """
        if self.kubeconfig is not None:
            return self.kubeconfig
        places = [self.instance.admin_kubeconfig]
        if os.environ.get("KUBECONFIG"):
            places.append(Path(os.environ["KUBECONFIG"]))
        places.append(Path.home() / ".kube" / "config")
        for place in places:
            if place.is_file():
                return place
        raise CommandError(
            f"no control plane: expected a kubeconfig at one of {', '.join(map(str, places))}, found none",
            "start one with `hauberk up DIRECTORY`, or name a kubeconfig with --kubeconfig",
            ExitCode.UNREACHABLE,
        )

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[HttpClient]:
        """A client of the control plane, closed afterwards."""
        client = HttpClient.from_kubeconfig(self.find_kubeconfig())
        try:
            yield client
        finally:
            await client.close()


P = ParamSpec("P")


def asynchronous(
    verb: Callable[Concatenate[Context, P], Coroutine[Any, Any, int | None]],
) -> Callable[P, None]:
    """A verb written as a coroutine, run by click; its result is the exit code."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        code = asyncio.run(_until_told_to_end(verb(current_context(), *args, **kwargs)))
        if code:
            raise SystemExit(code)

    return run


async def _until_told_to_end(verb: Coroutine[Any, Any, int | None]) -> int | None:
    """SIGTERM ends a verb as Ctrl-C does: what it started, it takes down."""
    task = asyncio.ensure_future(verb)
    ended = False

    def end() -> None:
        nonlocal ended
        ended = True
        task.cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
    try:
        return await task
    except asyncio.CancelledError:
        if ended:
            return 128 + signal.SIGTERM
        raise


def current_context() -> Context:
    """The global options of the verb that runs."""
    found = click.get_current_context().find_object(Context)
    if found is None:
        raise RuntimeError("expected the verb to run under the group `hauberk`")
    return found


async def wait_for(
    condition: Callable[[], Awaitable[bool]], *, seconds: float, what: str, remedy: str = ""
) -> None:
    """Polls `condition` every 50 ms until it is true.

    Raises:
        CommandError: it was not within `seconds`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await condition():
        if loop.time() > deadline:
            raise CommandError(f"{what} within {seconds:.0f} s; it did not", remedy)
        await asyncio.sleep(0.05)
