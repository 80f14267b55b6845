"""How the command line fails: one sentence that says what to do next, and a documented exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every verb, printed by `hauberk --help`."""

    OK = 0
    FAILED = 1
    """The verb ran and what it was asked did not come true (or warnings with `analyze --strict`)."""
    USAGE = 2
    """The command line was wrong (or errors with `analyze`)."""
    UNREACHABLE = 3
    """The control plane, or the node, does not answer."""
    REFUSED = 4
    """The API refused it: not authenticated, not authorised, not found, conflict, invalid."""


class CommandError(Exception):
    """An error of a verb: what was expected, what was found, and the remedy."""

    def __init__(self, message: str, remedy: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.code = code

    def render(self) -> str:
        """The sentence, and the remedy below it."""
        return f"error: {self}" + (f"\n  {self.remedy}" if self.remedy else "")
