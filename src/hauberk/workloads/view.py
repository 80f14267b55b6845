"""What a controller sees: informers' caches, with our own writes in them before the watch brings them back.

Without that, a controller that looks again too soon would not see the pod it has just made and make another.
A write is remembered until the informer has caught up with it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeVar

from hauberk.model.kind import Object
from hauberk.store.client import Event
from hauberk.store.informer import Informer
from hauberk.workloads.action import Key
from hauberk.workloads.clock import rfc3339
from hauberk.workloads.ownership import controller_of, is_deleting

Name = TypeVar("Name")
Listener = Callable[[str, Object], None]


def version(obj: Object) -> int:
    """`resourceVersion` as the number that it is in our store and in Kubernetes' (KEP-5504)."""
    return int(obj["metadata"]["resourceVersion"])


class View:
    """Objects of the kinds that controllers watch, by kind's name."""

    def __init__(self, informers: Mapping[str, Informer]) -> None:
        self._informers = informers
        self._caches = {kind: _Cache() for kind in informers}
        self._listeners: list[Listener] = []
        for kind, informer in informers.items():
            informer.subscribe(self._follow(kind))

    def listen(self, listener: Listener) -> None:
        """Hear of each change: the kind's name and the object (as it last was, when deleted)."""
        self._listeners.append(listener)

    async def synced(self) -> None:
        """Wait until every kind has been listed once."""
        for informer in self._informers.values():
            await informer.synced.wait()

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        return self._caches[kind].objects.get((namespace, name))

    def all(self, kind: str, namespace: str | None = None) -> list[Object]:
        cache = self._caches[kind]
        if namespace is None:
            return list(cache.objects.values())
        return [cache.objects[key] for key in cache.by_namespace.get(namespace, ())]

    def owned(self, kind: str, uid: str) -> list[Object]:
        """Objects whose controller has this UID."""
        cache = self._caches[kind]
        return [cache.objects[key] for key in cache.by_owner.get(uid, ())]

    def unowned(self, kind: str, namespace: str) -> list[Object]:
        """Objects of the namespace that have no controller."""
        cache = self._caches[kind]
        return [o for key in cache.by_owner.get("", ()) if (o := cache.objects[key]) and key[0] == namespace]

    def selected(self, kind: str, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """Objects of the namespace that carry all of these labels (at least one)."""
        cache = self._caches[kind]
        places = [cache.by_label.get((namespace, *label), {}) for label in labels.items()]
        return [
            o for key in min(places, key=len) if labels.items() <= _labels(o := cache.objects[key]).items()
        ]

    def seen_at(self, kind: str) -> str:
        """The newest resource version that the informer has shown."""
        return str(self._caches[kind].newest)

    def wrote(self, kind: str, obj: Object) -> None:
        """Take in what the API answered to a write."""
        if kind in self._caches:
            self._caches[kind].put_write(obj)

    def deleted(self, kind: str, obj: Object, now: datetime) -> None:
        """Remember that this object's deletion was accepted: it counts as on its way out."""
        if kind in self._caches:
            self._caches[kind].put_deletion(obj, rfc3339(now))

    def _follow(self, kind: str) -> Callable[[Event], None]:
        cache = self._caches[kind]

        def follow(event: Event) -> None:
            before = cache.objects.get(_key(event.object))
            cache.observe(event)
            for listener in self._listeners:
                listener(kind, event.object)
                if before is not None and _labels(before) != _labels(event.object):
                    listener(kind, before)  # for whoever chose it by what it was

        return follow


class _Cache:
    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self.by_namespace: dict[str, dict[Key, None]] = {}
        self.by_owner: dict[str, dict[Key, None]] = {}
        self.by_label: dict[tuple[str, str, str], dict[Key, None]] = {}
        self.newest = 0
        self._deleted: dict[str, str] = {}

    def observe(self, event: Event) -> None:
        obj = event.object
        self.newest = max(self.newest, version(obj))
        uid = obj["metadata"]["uid"]
        held = self.objects.get(_key(obj))
        if event.type == "DELETED":
            self._deleted.pop(uid, None)
            if held is not None and held["metadata"]["uid"] == uid:
                self._remove(held)
            return
        if held is not None and held["metadata"]["uid"] == uid and version(held) > version(obj):
            return
        if held is not None and held["metadata"]["uid"] != uid and version(held) > version(obj):
            return  # the echo of an object that has been replaced since
        if is_deleting(obj):
            self._deleted.pop(uid, None)
        elif uid in self._deleted:
            obj = _marked(obj, self._deleted[uid])
        self._put(obj)

    def put_write(self, obj: Object) -> None:
        held = self.objects.get(_key(obj))
        if version(obj) <= self.newest and held is None:
            return  # the informer has gone past it: the object has been deleted meanwhile
        if held is None or version(held) < version(obj):
            self._put(obj)

    def put_deletion(self, obj: Object, moment: str) -> None:
        held = self.objects.get(_key(obj))
        if held is None or held["metadata"]["uid"] != obj["metadata"]["uid"] or is_deleting(held):
            return
        self._deleted[obj["metadata"]["uid"]] = moment
        self._put(_marked(held, moment))

    def _put(self, obj: Object) -> None:
        key = _key(obj)
        if (held := self.objects.get(key)) is not None:
            self._remove(held)
        self.objects[key] = obj
        self.by_namespace.setdefault(key[0], {})[key] = None
        self.by_owner.setdefault(_owner(obj), {})[key] = None
        for label in _labels(obj).items():
            self.by_label.setdefault((key[0], *label), {})[key] = None

    def _remove(self, obj: Object) -> None:
        key = _key(obj)
        del self.objects[key]
        _drop(self.by_namespace, key[0], key)
        _drop(self.by_owner, _owner(obj), key)
        for label in _labels(obj).items():
            _drop(self.by_label, (key[0], *label), key)


def _drop(index: dict[Name, dict[Key, None]], name: Name, key: Key) -> None:
    del index[name][key]
    if not index[name]:
        del index[name]


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _labels(obj: Object) -> Mapping[str, str]:
    return obj["metadata"].get("labels") or {}


def _owner(obj: Object) -> str:
    return str((controller_of(obj) or {}).get("uid", ""))


def _marked(obj: Object, moment: str) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": moment}}


def names(objects: Iterable[Object]) -> frozenset[str]:
    return frozenset(str(obj["metadata"]["name"]) for obj in objects)
