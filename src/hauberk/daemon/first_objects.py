"""What an empty store begins with: the namespaces that every Kubernetes API has."""

from hauberk.model import kinds
from hauberk.store.client import ApiError, Client

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def make_first_objects(client: Client) -> None:
    """Make what is missing; what is there stays as it is.

    Raises:
        ApiError: the store refuses.
    """
    for name in NAMESPACES:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await client.create(kinds.NAMESPACE, namespace)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
