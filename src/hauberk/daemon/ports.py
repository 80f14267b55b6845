"""The ports of the last run, taken again if they are free, so that clients find a restarted hauberkd."""

import json
import socket
from dataclasses import replace
from pathlib import Path

from hauberk.daemon.files import replace_file
from hauberk.daemon.options import Listen


def remembered(listen: Listen, state: Path, name: str) -> Listen:
    """`listen` with the last run's port in the place of 0, if that port is free now."""
    if listen.port:
        return listen
    try:
        port = int(json.loads((state / "ports.json").read_text())[name])
    except (OSError, ValueError, KeyError, TypeError):
        return listen  # the first run, or a file that says nothing: any port will do
    again = replace(listen, port=port)
    return again if _is_free(again) else listen


def remember(state: Path, ports: dict[str, int]) -> None:
    """Raises OSError."""
    replace_file(state / "ports.json", json.dumps(ports).encode())


def _is_free(listen: Listen) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except OSError:
            return False
    return True
