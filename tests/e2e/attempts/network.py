"""Every way around the proxy. Arguments: another pod's address, then ADDRESS:PORT of the machine."""

import json
import socket
import struct
import subprocess
import sys

other, machine = sys.argv[1], sys.argv[2:]


def answered(address: str, port: int) -> str:
    with socket.create_connection((address, port), 1) as connection:
        connection.settimeout(1)
        data = connection.recv(64)
        return f"got {data!r}" if data else "closed without a byte"


def port_of_pod() -> str:
    with socket.create_connection((other, 8000), 1) as connection:
        connection.settimeout(2)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = connection.recv(64)
        # The proxy may answer for itself; only the program's own answer is an escape.
        return f"got {data!r}" if data.startswith(b"HTTP/1.1 200") else f"refused: {data!r}"


def datagram(address: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.5)
        sender.sendto(b"x", (address, 8000))
        return f"got {sender.recv(64)!r}"


def echo_request(address: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sender:
        sender.settimeout(0.5)
        sender.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FF, 0, 0), (address, 0))
        return f"got {sender.recv(64)!r}"


def vsock(context: int) -> str:
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect((context, 22))
        return "got a connection"


def after_rules() -> str:
    subprocess.run(["nft", "flush", "ruleset"], check=False, capture_output=True)
    subprocess.run(["ip", "route", "add", f"{other}/32", "dev", "eth0"], check=False, capture_output=True)
    subprocess.run(
        ["ip", "address", "add", "10.66.255.9/16", "dev", "eth0"], check=False, capture_output=True
    )
    return port_of_pod()


def attempt(what: object, *arguments: object) -> str:
    try:
        return what(*arguments)  # type: ignore[operator, no-any-return]
    except OSError as error:
        return f"refused: {error}"


outcome = {"pod by TCP": attempt(port_of_pod), "pod by UDP": attempt(datagram, other)}
outcome["pod by ICMP"] = attempt(echo_request, other)
for each in machine:
    address, _, port = each.partition(":")
    # In the pod's own namespace 127.0.0.1 is the pod itself, where nothing listens on this port.
    outcome[f"machine {each}"] = attempt(answered, address, int(port))
outcome["gateway's resolver link"] = attempt(answered, "169.254.1.1", int(machine[0].partition(":")[2]))
for context in (0, 1, 2, 0xFFFFFFFF):
    outcome[f"vsock {context}"] = attempt(vsock, context)
outcome["pod after rules, routes and addresses of its own"] = attempt(after_rules)
sys.stdout.write(json.dumps(outcome))
