"""What `hauberkd` is started with: parsed once, wrong values refused with the remedy."""

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Listen:
    """A numeric address and a port to listen on; port 0 takes any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Options:
    """`hauberkd`'s command line."""

    instance: str
    state: Path
    run: Path
    key_file: Path
    database: str
    """`sqlite:///PATH` or `postgresql://…`."""
    api_listen: Listen
    grpc_listen: Listen
    trust_domain: str
    service_network: ipaddress.IPv4Network
    pod_network: ipaddress.IPv4Network
    node: str
    """Name of the local node that gets a credential; empty for none."""


def parse_listen(text: str) -> Listen:
    """`127.0.0.1:6443`.

    Raises:
        ValueError: it is not an IPv4 address and a port.
    """
    host, colon, port = text.rpartition(":")
    try:
        address = ipaddress.IPv4Address(host)
        number = int(port)
    except ValueError as error:
        raise ValueError(f"expected ADDRESS:PORT such as 127.0.0.1:0, found {text!r}") from error
    if not colon or not 0 <= number <= 65535:
        raise ValueError(f"expected a port from 0 to 65535, found {text!r}")
    return Listen(str(address), number)


def parse_network(text: str) -> ipaddress.IPv4Network:
    """`10.96.0.0/16`.

    Raises:
        ValueError: it is no IPv4 network, or has fewer than 16 addresses.
    """
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ValueError(f"expected a network such as 10.96.0.0/16, found {text!r}: {error}") from error
    if network.prefixlen > 28:
        raise ValueError(f"expected a network of at least 16 addresses (/28), found {text!r}")
    return network


def parse_database(text: str, state: Path) -> str:
    """The database's URL; without one, SQLite in the state folder.

    Raises:
        ValueError: its scheme is neither `sqlite` nor `postgresql`.
    """
    if not text:
        return f"sqlite:///{(state / 'hauberk.db').absolute()}"
    scheme = text.partition("://")[0]
    if scheme not in ("sqlite", "postgresql", "postgres"):
        raise ValueError(f"expected sqlite:///PATH or postgresql://…, found scheme {scheme!r}")
    return text


def parse_node_name(text: str) -> str:
    """A DNS name, as node names are.

    Raises:
        ValueError: it is none.
    """
    if text and not _NODE_NAME.fullmatch(text):
        raise ValueError(f"expected a name of a-z, 0-9, '-' and '.', at most 63 long, found {text!r}")
    return text


def check_key_file(key_file: Path, state: Path) -> Path:
    """The key file's path, unless it lies where what it encrypts lies: a backup of the one would hold both.

    Raises:
        ValueError: it is in the state folder, by its name or by a link.
    """
    if any(path.is_relative_to(folder) for path, folder in _both_ways(key_file, state)):
        raise ValueError(
            f"--key-file {key_file} lies in the state folder {state}, whose backups it must not be in: move it "
            f"away, for instance `mv {key_file} {state.parent}/{state.name}.key`, and name it there"
        )
    return key_file


def _both_ways(key_file: Path, state: Path) -> tuple[tuple[Path, Path], ...]:
    return (key_file.absolute(), state.absolute()), (key_file.resolve(), state.resolve())


def check_apart(services: ipaddress.IPv4Network, pods: ipaddress.IPv4Network) -> None:
    """Raises ValueError if an address could be both a service's and a pod's."""
    if services.overlaps(pods):
        raise ValueError(
            f"--service-cidr {services} and --pod-cidr {pods} overlap; choose networks that do not"
        )
