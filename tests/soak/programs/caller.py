"""Calls the service all the time on kept connections, and prints each call: began, seconds, kind, status, verdict."""

import hashlib
import http.client
import json
import os
import random
import sys
import threading
import time
import uuid

KINDS = sys.argv[1].split(",")
WORKERS = int(sys.argv[2])
BIG = bytes(range(256)) * 4096


class Wrong(Exception):
    """The answer is not the one to this call."""


def call(connection: http.client.HTTPConnection, kind: str) -> int:
    nonce = uuid.uuid4().hex
    method = "POST" if kind in {"post", "upload"} else "GET"
    path = f"/{'fast' if kind == 'post' else 'fast' if kind == 'upload' else kind}?{nonce}"
    body = {"post": nonce.encode(), "upload": nonce.encode() * 8192}.get(kind)
    connection.request(method, path, body)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status == 200:
        wanted = f"{method} {path} {hashlib.sha256(body or b'').hexdigest()}\n".encode()
        if kind == "big":
            wanted += BIG
        if said != wanted:
            raise Wrong(
                f"expected {wanted[:80]!r}, {len(wanted)} bytes; found {said[:80]!r}, {len(said)} bytes"
            )
    return -503 if answer.status == 503 and answer.getheader("x-program") else answer.status


def work() -> None:
    connection = http.client.HTTPConnection("service", 8000, timeout=15)
    while True:
        kind, began, verdict = random.choice(KINDS), time.time(), "ok"
        try:
            status = call(connection, kind)
        except Wrong as error:
            status, verdict = 200, f"wrong: {error}"
        except (OSError, http.client.HTTPException) as error:
            status, verdict = 0, repr(error)
            connection.close()
        said = [began, round(time.time() - began, 4), kind, status, verdict]
        os.write(1, json.dumps(said).encode() + b"\n")  # whole, whatever the other threads write
        if random.random() < 0.05:
            connection.close()
        time.sleep(random.random() * 0.05)


for _ in range(WORKERS):
    threading.Thread(target=work).start()
