"""A kubeconfig with a client certificate in it, as kubectl and the node read it."""

import base64

import yaml


def kubeconfig(
    *, server: str, authority: bytes, certificate: bytes, key: bytes, cluster: str, user: str
) -> bytes:
    """YAML; `authority`, `certificate` and `key` are PEM. The result is a secret: it holds the key."""
    context = f"{user}@{cluster}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": cluster, "cluster": {"server": server, "certificate-authority-data": _base64(authority)}}
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)},
            }
        ],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
