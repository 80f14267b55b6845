"""Running a program to its end, with what it said on standard error in the error."""

import asyncio
from collections.abc import Sequence


class CommandError(Exception):
    """A program that the node needs ended with a failure; the message has its arguments and its words."""


async def run(*arguments: str, text: str = "", allowed: Sequence[int] = (0,)) -> str:
    """Standard output of a program that is fed `text`.

    Raises:
        CommandError: it could not be started, or ended with a code not in `allowed`.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError as error:
        raise CommandError(f"{arguments[0]}: not installed; scripts/install-packages installs it") from error
    except OSError as error:
        raise CommandError(f"{arguments[0]}: cannot be started: {error}") from error
    output, said = await process.communicate(text.encode())
    if process.returncode not in allowed:
        words = said.decode(errors="replace").strip() or "no message"
        raise CommandError(f"{' '.join(arguments)}: exit code {process.returncode}: {words}")
    return output.decode()
