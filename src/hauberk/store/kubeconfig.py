"""Where a Kubernetes API is and how to show who asks: read from a kubeconfig file, or written to one."""

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class KubeconfigError(ValueError):
    """A kubeconfig that cannot be read or does not say enough."""


@dataclass(frozen=True, repr=False)
class Connection:
    """An API server and credentials for it, as PEM."""

    server: str
    """`https://HOST:PORT`"""
    certificate_authority: bytes = b""
    client_certificate: bytes = b""
    client_key: bytes = b""
    token: str = ""
    namespace: str = "default"

    def ssl_context(self) -> ssl.SSLContext:
        """TLS that trusts the certificate authority alone (the system's, if none is named)."""
        authority = self.certificate_authority.decode() or None
        context = ssl.create_default_context(cadata=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.client_certificate:
            # OpenSSL's interface takes the key from a file; a private one, gone at once.
            with tempfile.NamedTemporaryFile(prefix="hauberk-") as file:
                file.write(self.client_certificate + b"\n" + self.client_key)
                file.flush()
                context.load_cert_chain(file.name)
        return context


def read_kubeconfig(path: Path) -> Connection:
    """The connection of the current context. Raises `KubeconfigError`."""
    try:
        document = yaml.safe_load(path.read_text())
        context = _named(document, "contexts", document["current-context"], "context")
        cluster = _named(document, "clusters", context["cluster"], "cluster")
        user = _named(document, "users", context.get("user", ""), "user") if context.get("user") else {}
        server = str(cluster["server"]).rstrip("/")
        return Connection(
            server,
            _data(path, cluster, "certificate-authority"),
            _data(path, user, "client-certificate"),
            _data(path, user, "client-key"),
            str(user.get("token") or ""),
            str(context.get("namespace") or "default"),
        )
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise KubeconfigError(
            f"{path}: expected a kubeconfig with a current context, its cluster and user; found: {error!r}"
        ) from error


def format_kubeconfig(connection: Connection, *, name: str = "hauberk", user: str = "admin") -> str:
    """A kubeconfig of one context."""
    cluster: dict[str, Any] = {"server": connection.server}
    credentials: dict[str, Any] = {}
    for place, key, value in (
        (cluster, "certificate-authority-data", connection.certificate_authority),
        (credentials, "client-certificate-data", connection.client_certificate),
        (credentials, "client-key-data", connection.client_key),
    ):
        if value:
            place[key] = base64.b64encode(value).decode()
    if connection.token:
        credentials["token"] = connection.token
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
            "contexts": [
                {"name": name, "context": {"cluster": name, "user": user, "namespace": connection.namespace}}
            ],
        },
        sort_keys=False,
    )


def _named(document: Any, section: str, name: str, key: str) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry[key]
            return found
    raise KeyError(f"{section} {name}")


def _data(path: Path, entry: Mapping[str, str], name: str) -> bytes:
    if encoded := entry.get(f"{name}-data"):
        return base64.b64decode(encoded, validate=True)
    if file := entry.get(name):
        return (path.parent / file).read_bytes()
    return b""
