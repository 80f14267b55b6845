"""What every namespace has from its first moment: the account `default`, and the API's root certificate."""

import copy
from dataclasses import dataclass

from hauberk.model.kind import Object
from hauberk.workloads.action import Action, Create, Update
from hauberk.workloads.ownership import is_deleting

ROOT_CONFIG_MAP = "kube-root-ca.crt"


@dataclass(frozen=True, slots=True)
class Observed:
    namespace: Object
    account: Object | None
    root: Object | None
    """The ConfigMap `kube-root-ca.crt`."""


def reconcile(seen: Observed, root_certificates: str) -> list[Action]:
    if is_deleting(seen.namespace):
        return []
    namespace = seen.namespace["metadata"]["name"]
    actions: list[Action] = []
    if seen.account is None:
        account = {"name": "default", "namespace": namespace}
        actions.append(
            Create("ServiceAccount", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        )
    data = {"ca.crt": root_certificates}
    if seen.root is None:
        meta = {"name": ROOT_CONFIG_MAP, "namespace": namespace}
        root = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
        actions.append(Create("ConfigMap", root))
    elif seen.root.get("data") != data:
        renewed = copy.deepcopy(seen.root)
        renewed["data"] = data
        actions.append(Update("ConfigMap", renewed))
    return actions
