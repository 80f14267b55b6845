"""The `hauberk` command line: global options, the table of verbs, and what errors look like."""

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from hauberk.cli.context import Context
from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.instance import Instance
from hauberk.store.client import ApiError
from hauberk.store.kubeconfig import KubeconfigError

VERBS = {
    "up": "Start an instance here and apply a directory of manifests.",
    "down": "End an instance and leave nothing running.",
    "apply": "Create or change objects as manifests describe them.",
    "get": "List objects.",
    "describe": "Show an object in full, with its events.",
    "delete": "Delete objects.",
    "status": "Show whether the control plane, nodes, pods and proxies are well.",
    "analyze": "Find mistakes in manifests or in a namespace.",
    "proxy-status": "Show whether each proxy has what the control plane sent it.",
    "proxy-config": "Show the configuration that a pod's proxy runs.",
    "logs": "Print the output of a container.",
    "exec": "Run a command in a container.",
    "tap": "Watch calls as they happen.",
    "top": "Watch who calls whom, live.",
    "edges": "Show who calls whom, how often and as whom.",
    "authz": "Show what policies say of a call.",
    "route": "Show where a call goes.",
    "why": "Show the proof behind a call, ring by ring.",
    "check": "Show what this machine can and cannot do.",
    "backup": "Write an instance into a file.",
    "restore": "Make an instance anew from a backup.",
    "bug-report": "Collect what a bug report needs, without secrets.",
    "version": "Print the versions of client and server.",
    "completion": "Print the completion script of a shell.",
}
"""Every verb and its line in `hauberk --help`; its module is `hauberk.cli.verbs.NAME`, loaded when it is run."""

EPILOG = """
\b
Exit codes:
  0    done
  1    what was asked for did not come true; warnings with `analyze --strict`
  2    the command line, or a manifest, is wrong
  3    the control plane or the node does not answer
  4    the API refused: not authorised, not found, conflict, invalid
  130  interrupted by Ctrl-C
  141  whoever read the output, `head` for one, had enough of it
  143  ended by SIGTERM
`hauberk exec` ends with the exit code of the command that it ran.

\b
Examples:
  hauberk up examples/bank
  hauberk get pods -A
  hauberk --instance try status
"""


class ReaderGoneError(Exception):
    """Nobody reads the output any more."""


class Verbs(click.Group):
    """Loads the module of a verb when the verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"hauberk.cli.verbs.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error  # which click does not make an exit code of its own of

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group("hauberk", cls=Verbs, epilog=EPILOG, context_settings={"max_content_width": 100})
@click.option(
    "--instance",
    metavar="NAME",
    default="default",
    show_default=True,
    envvar="HAUBERK_INSTANCE",
    help="Which instance.",
)
@click.option(
    "--state", type=click.Path(path_type=Path), help="Its state. [default: /var/lib/hauberk/INSTANCE]"
)
@click.option("--run", type=click.Path(path_type=Path), help="Its sockets. [default: /run/hauberk/INSTANCE]")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="Its key. [default: /etc/hauberk/INSTANCE.key]"
)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A kubeconfig. [default: the instance's, $KUBECONFIG, ~/.kube/config]",
)
@click.pass_context
def hauberk(
    ctx: click.Context,
    instance: str,
    state: Path | None,
    run: Path | None,
    key_file: Path | None,
    kubeconfig: Path | None,
) -> None:
    """Every call between two workloads carries a proof; policy is decided on it."""
    try:
        chosen = Instance.named(instance, state=state, run=run, key_file=key_file)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    ctx.obj = Context(chosen, kubeconfig)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and exit with its code; errors go to standard error with what to do next."""
    try:
        code = hauberk.main(args=arguments, prog_name="hauberk", standalone_mode=False)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (BrokenPipeError, ReaderGoneError):
        _end_of_pipe()
    except BaseExceptionGroup as group:
        first = _first(group)
        if isinstance(first, BrokenPipeError):
            _end_of_pipe()
        _fail(first)
    except (CommandError, ApiError, KubeconfigError) as error:
        _fail(error)


def _end_of_pipe() -> NoReturn:
    """The reader, `head` for one, has had enough: end as a program ends that SIGPIPE has killed."""
    os.dup2(
        os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
    )  # what is buffered must not fail again at exit
    sys.exit(128 + signal.SIGPIPE)


def _fail(error: BaseException) -> None:
    found = as_command_error(error)
    if found is None:
        raise error
    click.echo(found.render(), err=True)
    sys.exit(found.code)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def as_command_error(error: BaseException) -> CommandError | None:
    """What a person is told of an error that a verb may end with; None for a fault of the program."""
    match error:
        case CommandError():
            return error
        case KubeconfigError():
            return CommandError(str(error), "name another one with --kubeconfig", ExitCode.USAGE)
        case ApiError(code=503):
            return CommandError(
                error.message,
                "does it run? `hauberk status`; start it with `hauberk up`",
                ExitCode.UNREACHABLE,
            )
        case ApiError():
            return CommandError(
                f"{error.message} ({error.reason})", _REMEDIES.get(error.reason, ""), ExitCode.REFUSED
            )
    return None


_REMEDIES = {
    "NotFound": "see what there is: `hauberk get KIND -A`",
    "Forbidden": "ask for a role that allows it, or use another kubeconfig with --kubeconfig",
    "Unauthorized": "the credentials in the kubeconfig are not accepted; name another one with --kubeconfig",
    "Conflict": "somebody changed it in the meantime; try again",
    "Invalid": "mend what is named above; `hauberk analyze FILE` shows where it is written",
}


if __name__ == "__main__":
    main()
