"""What creating, updating, patching and deleting mean: the life of an object, above storage and below HTTP."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.store import status
from hauberk.store.bodies import not_too_deep
from hauberk.store.checking import check, check_identity, check_preconditions
from hauberk.store.client import ApiError
from hauberk.store.database import DatabaseError, Key
from hauberk.store.lifecycle import (
    is_finished,
    marked_for_deletion,
    prepare_creation,
    prepare_update,
    spec_of,
)
from hauberk.store.options import DeleteOptions, Options
from hauberk.store.patch import PatchError, json_patch, merge_patch, strategic_merge_patch
from hauberk.store.registry import Registry, resource_name
from hauberk.store.selection import Selection, format_continue, parse_continue
from hauberk.store.service_addresses import ServiceAddresses
from hauberk.store.storage import (
    CompactedError,
    Erase,
    LaggingError,
    Step,
    Storage,
    Stored,
    TooLargeError,
    Unchanged,
    Watcher,
    Write,
    WriteConflictError,
)

PatchKind = Literal["merge", "strategic-merge", "json"]
ATTEMPTS = 32
"""How often a change without a precondition is tried anew against concurrent changes."""
NAMESPACES = Kind("", "v1", "Namespace", "namespaces", False, {})


@dataclass(frozen=True, slots=True)
class Page:
    """Objects at one revision."""

    items: list[Stored]
    revision: int
    continue_token: str = ""
    remaining: int = 0


Admission = Callable[[Kind, Object, Object | None], None]
"""Raises `ApiError` if the writer may not write this; used for rules that need to know who writes."""


def allow(_kind: Kind, _new: Object, _old: Object | None) -> None:
    """Admit everything."""


class Objects:
    """The API's verbs on the objects of a `Registry`."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        addresses: ServiceAddresses,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.storage = storage
        self.registry = registry
        self._addresses = addresses
        self._now = now

    # Reading

    def get(self, kind: Kind, namespace: str, name: str) -> Stored:
        """Raises `ApiError` 404."""
        stored = self.storage.get(Key(resource_name(kind), namespace, name))
        if stored is None:
            raise status.not_found(kind, name)
        return stored

    def page(
        self,
        kind: Kind,
        namespace: str | None,
        selection: Selection,
        *,
        limit: int = 0,
        continue_token: str = "",
        revision: int = 0,
    ) -> Page:
        """A page, at the revision of the first one. Raises `ApiError` 400 or 410."""
        after: Key | None = None
        if continue_token:
            revision, after = parse_continue(continue_token, resource_name(kind))
        name = selection.fields.value_of("metadata.name")
        try:
            if name is not None and namespace is not None and not revision:
                found = self.storage.get(Key(resource_name(kind), namespace, name))
                items = [found] if found else []
            else:
                items = self.storage.objects(resource_name(kind), namespace, revision)
        except CompactedError as error:
            if continue_token:
                raise status.expired(
                    "The provided continue parameter is too old to display a consistent list result. "
                    "You must start a new list without the continue parameter."
                ) from error
            raise status.expired(str(error)) from error
        if after is not None:
            items = [stored for stored in items if stored.key > after]
        if not selection.everything:
            items = [stored for stored in items if selection.matches(stored.object)]
        revision = revision or self.storage.revision
        if limit and len(items) > limit:
            token = format_continue(revision, items[limit - 1].key)
            return Page(items[:limit], revision, token, len(items) - limit)
        return Page(items, revision)

    @contextlib.contextmanager
    def watch(self, kind: Kind, namespace: str | None, revision: int) -> Iterator[Watcher]:
        """Raises `ApiError` 410."""
        try:
            with self.storage.watch(resource_name(kind), namespace, revision) as watcher:
                yield watcher
        except (CompactedError, LaggingError) as error:
            raise status.expired(str(error) or "the watcher did not keep up; list again") from error

    # Writing

    async def create(
        self, kind: Kind, namespace: str, obj: Object, options: Options, admission: Admission = allow
    ) -> Stored:
        """Raises `ApiError` 400, 403, 404, 409 or 422."""
        obj = copy.deepcopy(obj)
        metadata = check_identity(kind, namespace, obj)
        if metadata.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        for attempt in range(ATTEMPTS):
            new = copy.deepcopy(obj) if attempt + 1 < ATTEMPTS else obj
            guards = self._namespace_guard(kind, namespace)
            prepare_creation(kind, new, self._now())
            self._check(kind, new, None, options)
            admission(kind, new, None)
            key = Key(resource_name(kind), namespace, new["metadata"]["name"])
            if self.storage.get(key) is not None:
                if "name" in obj["metadata"] and obj["metadata"]["name"]:
                    raise status.already_exists(kind, key.name)
                continue
            addressing = self._addresses.claim(kind, new, None)
            if options.dry_run:
                return Stored(key, 0, new)
            try:
                return (await self._write(Write(key, new, None), *guards, *addressing))[0]
            except WriteConflictError:
                continue
        raise status.internal(f"creating {kind.name} met concurrent changes {ATTEMPTS} times; try again")

    async def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        obj: Object,
        options: Options,
        *,
        subresource: str = "",
        admission: Admission = allow,
        trusted: bool = False,
    ) -> Stored:
        """Raises `ApiError` 400, 404, 409 or 422.

        `trusted` is for controllers of the store's own: what stands already is not checked again.
        """
        metadata = check_identity(kind, namespace, obj)
        if metadata.get("name") != name:
            raise status.bad_request(
                f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
            )
        return await self._modify(
            kind,
            namespace,
            name,
            lambda _old: copy.deepcopy(obj),
            options,
            subresource,
            admission,
            trusted=trusted,
        )

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        patch: Any,
        patch_type: PatchKind,
        options: Options,
        *,
        subresource: str = "",
        admission: Admission = allow,
    ) -> Stored:
        """Raises `ApiError` 400, 404, 409 or 422."""

        def patched(old: Object) -> Object:
            try:
                if patch_type == "json":
                    new = json_patch(old, patch)
                elif patch_type == "merge":
                    new = merge_patch(old, patch)
                else:
                    new = strategic_merge_patch(old, patch, kind.schema)
            except PatchError as error:
                raise ApiError(
                    422 if patch_type == "json" else 400,
                    "Invalid" if patch_type == "json" else "BadRequest",
                    str(error),
                ) from error
            if not isinstance(new, dict):
                raise status.bad_request("expected the patched object to be an object")
            new = copy.deepcopy(not_too_deep(new))
            check_identity(kind, namespace, new)
            if new["metadata"].get("name") != name:
                raise status.invalid(
                    kind, name, [FieldError("metadata.name", "Invalid value: field is immutable")]
                )
            return new

        return await self._modify(kind, namespace, name, patched, options, subresource, admission)

    async def delete(
        self, kind: Kind, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[Stored, bool]:
        """The last state, and whether it is gone already. Raises `ApiError` 404 or 409."""
        for _ in range(ATTEMPTS):
            stored = self.get(kind, namespace, name)
            check_preconditions(kind, stored, options.uid, options.resource_version)
            new = marked_for_deletion(kind, stored.object, options, self._now())
            if new == stored.object:
                return stored, False
            try:
                if is_finished(new):
                    if options.dry_run:
                        return stored, True
                    steps = self._addresses.release(kind, stored.object)
                    return (await self._write(Erase(new, stored), *steps))[0], True
                if options.dry_run:
                    return Stored(stored.key, stored.revision, new), False
                return (await self._write(Write(stored.key, new, stored)))[0], False
            except WriteConflictError:
                continue
        raise status.conflict(kind, name)

    async def _modify(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        options: Options,
        subresource: str,
        admission: Admission,
        *,
        trusted: bool = False,
    ) -> Stored:
        for _ in range(ATTEMPTS):
            stored = self.get(kind, namespace, name)
            old = stored.in_version(kind.api_version)
            new = change(old)
            metadata = new["metadata"]
            check_preconditions(
                kind, stored, metadata.get("uid") or "", metadata.get("resourceVersion") or ""
            )
            prepare_update(kind, new, old, subresource)
            if not trusted:
                self._check(kind, new, old, options)
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if new == old:
                return stored
            admission(kind, new, old)
            if spec_of(new) != spec_of(old) and "generation" in old["metadata"]:
                new["metadata"]["generation"] = old["metadata"]["generation"] + 1
            steps: list[Step]
            if is_finished(new):
                steps = [Erase(new, stored), *self._addresses.release(kind, old)]
            else:
                steps = [Write(stored.key, new, stored), *self._addresses.claim(kind, new, old)]
            if options.dry_run:
                return Stored(stored.key, stored.revision, new)
            with contextlib.suppress(
                WriteConflictError
            ):  # read anew; a version that was asked for is then a 409
                return (await self._write(*steps))[0]
        raise status.conflict(kind, name)

    async def _write(self, *steps: Step) -> Sequence[Stored]:
        try:
            return await self.storage.write(*steps)
        except TooLargeError as error:
            raise status.too_large(str(error)) from error
        except DatabaseError as error:
            raise status.unavailable(f"nothing was changed: {error}") from error

    # Rules

    def _check(self, kind: Kind, new: Object, old: Object | None, options: Options) -> None:
        check(kind, new, old, options, registry=self.registry, now=self._now())

    def _namespace_guard(self, kind: Kind, namespace: str) -> list[Unchanged]:
        if not kind.namespaced:
            return []
        stored = self.get(NAMESPACES, "", namespace)
        if stored.object["metadata"].get("deletionTimestamp"):
            raise status.forbidden(
                kind,
                "",
                f"unable to create new content in namespace {namespace} because it is being terminated",
                [
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            )
        return [Unchanged(stored)]
