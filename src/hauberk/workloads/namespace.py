"""What every namespace has for its pods: the API's root certificate. (Its account `default` is the store's doing.)"""

import copy
from dataclasses import dataclass

from hauberk.model.kind import Object
from hauberk.workloads.action import Action, Create, Update
from hauberk.workloads.ownership import is_deleting

ROOT_CONFIG_MAP = "kube-root-ca.crt"


@dataclass(frozen=True, slots=True)
class Observed:
    namespace: Object
    root: Object | None
    """The ConfigMap `kube-root-ca.crt`."""


def reconcile(seen: Observed, root_certificates: str) -> list[Action]:
    if is_deleting(seen.namespace):
        return []
    data = {"ca.crt": root_certificates}
    if seen.root is None:
        meta = {"name": ROOT_CONFIG_MAP, "namespace": seen.namespace["metadata"]["name"]}
        return [
            Create("ConfigMap", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})
        ]
    if seen.root.get("data") == data:
        return []
    renewed = copy.deepcopy(seen.root)
    renewed["data"] = data
    return [Update("ConfigMap", renewed)]
