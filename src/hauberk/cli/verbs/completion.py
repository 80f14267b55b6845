"""`hauberk completion`: the completion script of a shell."""

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete verbs and options.

    \b
    Examples:
      source <(hauberk completion bash)
      hauberk completion zsh > ~/.zfunc/_hauberk
      hauberk completion fish > ~/.config/fish/completions/hauberk.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"shell: expected bash, zsh or fish, found {shell!r}")
    click.echo(kind(ctx.find_root().command, {}, "hauberk", "_HAUBERK_COMPLETE").source())
