"""Connects to pathname sockets, and to abstract ones (`@NAME`), that others listen on."""

import json
import socket
import sys

outcome = {}
for name in sys.argv[1:]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as connection:
            try:
                connection.connect("\0" + name[1:] if name.startswith("@") else name)
                outcome[f"{name} {kind.name}"] = "got a connection"
            except OSError as error:
                outcome[f"{name} {kind.name}"] = f"refused: {error}"
sys.stdout.write(json.dumps(outcome))
