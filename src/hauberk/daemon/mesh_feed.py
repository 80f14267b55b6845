"""Brings what the mesh is made of from the API to the ADS server: objects in, registries out."""

from collections.abc import Callable, Iterable, Mapping

from hauberk.mesh.ads import Discovery, UnauthenticatedError
from hauberk.mesh.proxy import Proxy, parse_node_id, proxy_of
from hauberk.mesh.registry import CONFIGURATION_KINDS, ObjectKey, Registry, object_key
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.client import Event
from hauberk.store.informer import Informer

_FACTS = frozenset({("", "Service"), ("", "Pod"), ("", "Secret"), ("discovery.k8s.io", "EndpointSlice")})


def mesh_kinds() -> list[Kind]:
    """Every kind that the mesh's configuration comes from, once, in its stored version."""
    found: dict[tuple[str, str], Kind] = {}
    for kind in kinds.ALL:
        if (kind.group, kind.name) in CONFIGURATION_KINDS | _FACTS:
            found.setdefault((kind.group, kind.name), kind)
    return list(found.values())


class MeshFeed:
    """Gathers changes until `flush`, which the loop calls once for all that came in meanwhile."""

    def __init__(self, registry: Registry, soon: Callable[[Callable[[], None]], object]) -> None:
        self.registry = registry
        self._soon = soon
        self._upserted: dict[ObjectKey, Object] = {}
        self._deleted: set[ObjectKey] = set()
        self._scheduled = False
        self._publish: Callable[[Registry], None] = lambda _registry: None

    def follow(self, informers: Iterable[Informer]) -> None:
        for informer in informers:
            informer.subscribe(self.see)

    def publish_to(self, discovery: Discovery) -> None:
        self._publish = discovery.publish

    def see(self, event: Event) -> None:
        key = object_key(event.object)
        if event.type == "DELETED":
            self._upserted.pop(key, None)
            self._deleted.add(key)
        else:
            self._deleted.discard(key)
            self._upserted[key] = event.object
        if not self._scheduled:
            self._scheduled = True
            self._soon(self.flush)

    def flush(self) -> None:
        """Take in all that has been gathered, and publish it."""
        self._scheduled = False
        upserted, deleted = list(self._upserted.values()), list(self._deleted)
        self._upserted.clear()
        self._deleted.clear()
        later = self.registry.update(upserted, deleted)
        if later is not self.registry:
            self.registry = later
            self._publish(later)

    def use_key_sets(self, key_sets: Mapping[str, str]) -> None:
        """Take in the fetched key sets of tokens' issuers, by address."""
        later = self.registry.with_key_sets(key_sets)
        if later is not self.registry:
            self.registry = later
            self._publish(later)

    def proxy(self, node_id: str) -> Proxy:
        """The proxy of the pod that `node.id` names.

        Raises:
            UnauthenticatedError: the mesh does not know that pod.
            MalformedNodeError: `node.id` has no known form.
        """
        node = parse_node_id(node_id)
        if self._scheduled:
            self.flush()
        workload = self.registry.workloads.get((node.namespace, node.name))
        if workload is None:
            raise UnauthenticatedError(
                f"node.id names pod {node.namespace}/{node.name}, which is not of the mesh"
            )
        return proxy_of(node, workload)
