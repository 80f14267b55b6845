#!/usr/bin/env python3
"""Stands where `hauberk-sandbox` stands, with its command line: the pod's network namespace and nothing else.

So the node's life cycle is tested without the isolation, which has tests of its own.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def run(spec: dict) -> None:
    environment = dict(spec["env"])
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={spec['netns']}", *spec["args"]],
        env=environment, cwd=spec["cwd"], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip

    def write(**state: object) -> None:
        file = Path(spec["state"])
        file.with_suffix(".new").write_text(json.dumps(state))
        file.with_suffix(".new").rename(file)

    def control() -> None:
        server = socket.socket(socket.AF_UNIX)
        Path(spec["control"]).unlink(missing_ok=True)
        server.bind(spec["control"])
        server.listen()
        while True:
            connection, _ = server.accept()
            wanted = json.loads(connection.makefile().readline())
            os.killpg(child.pid, wanted["signal"])

    threading.Thread(target=control, daemon=True).start()
    began = now()
    write(phase="running", pid=child.pid, started_at=began)
    with Path(spec["log"]).open("ab", buffering=0) as log:
        for line in child.stdout:
            log.write(f"{now()} stdout F ".encode() + line)
    code = child.wait()
    write(
        phase="exited", pid=child.pid, started_at=began, finished_at=now(),
        exit_code=code if code >= 0 else 128 - code, signal=max(0, -code),
    )  # fmt: skip


def main() -> None:
    verb, arguments = sys.argv[1], sys.argv[2:]
    if verb == "run":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        run(json.loads(Path(arguments[1]).read_text()))
        return
    options, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    named = dict(zip(options[::2], options[1::2], strict=False))
    if verb == "exec":
        pid = json.loads(Path(named["--state"]).read_text())["pid"]
        os.execvp("nsenter", ["nsenter", f"--net=/proc/{pid}/ns/net", *command])
    # What a proxy makes is its own, and the node looks whose it is.
    uid = named["--uid"]
    kept = "+net_admin,+net_raw,+net_bind_service,+sys_admin,+dac_override"
    user = [
        "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
        f"--inh-caps={kept}", f"--ambient-caps={kept}",
    ]  # fmt: skip
    os.execvp(user[0], [*user, "nsenter", f"--net={named['--netns']}", *command])


main()
