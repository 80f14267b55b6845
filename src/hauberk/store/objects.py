"""What creating, updating, patching and deleting mean: the life of an object, above storage and below HTTP."""

import base64
import contextlib
import copy
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from hauberk.model.kind import FieldError, Kind, Object
from hauberk.store import custom_resources, status
from hauberk.store.client import ApiError
from hauberk.store.database import DatabaseError, Key
from hauberk.store.names import metadata_errors, name_error
from hauberk.store.patch import PatchError, json_patch, merge_patch, strategic_merge_patch
from hauberk.store.registry import Registry, resource_name
from hauberk.store.schema import conform
from hauberk.store.selectors import (
    FieldSelector,
    FieldTerm,
    LabelSelector,
    SelectorError,
    parse_field_selector,
    parse_label_selector,
)
from hauberk.store.service_addresses import ServiceAddresses
from hauberk.store.storage import (
    Change,
    CompactedError,
    Erase,
    LaggingError,
    Step,
    Storage,
    Stored,
    Unchanged,
    Watcher,
    Write,
    WriteConflictError,
)

FieldValidation = Literal["Strict", "Warn", "Ignore"]
PatchKind = Literal["merge", "strategic-merge", "json"]
ATTEMPTS = 32
"""How often a change without a precondition is tried anew against concurrent changes."""
GRACE_SECONDS = 30
SYSTEM_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)
NAMESPACES = Kind("", "v1", "Namespace", "namespaces", False, {})


@dataclass(slots=True)
class Options:
    """The query parameters of a write; `warnings` collects what the answer's Warning headers say."""

    dry_run: bool = False
    field_validation: FieldValidation = "Warn"
    warnings: list[str] = field(default_factory=list)


@dataclass(slots=True)
class DeleteOptions(Options):
    """`metav1.DeleteOptions`."""

    propagation: str = "Background"
    uid: str = ""
    resource_version: str = ""
    grace_period_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or watch asks for."""

    labels: LabelSelector = field(default_factory=LabelSelector)
    fields: FieldSelector = field(default_factory=FieldSelector)

    @classmethod
    def parse(cls, kind: Kind, labels: str, fields: str) -> "Selection":
        """Raises `ApiError` 400."""
        try:
            return cls(parse_label_selector(labels), parse_field_selector(fields, kind.selectable_fields))
        except SelectorError as error:
            raise status.bad_request(str(error)) from error

    def named(self, name: str) -> "Selection":
        """Of these only the one of that name."""
        terms = (FieldTerm("metadata.name", name, True), *self.fields.terms)
        return Selection(self.labels, FieldSelector(terms))

    @property
    def everything(self) -> bool:
        return not self.labels.requirements and not self.fields.terms

    def matches(self, obj: Object) -> bool:
        return self.everything or (
            self.labels.matches(obj["metadata"].get("labels") or {}) and self.fields.matches(obj)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Objects at one revision."""

    items: list[Stored]
    revision: int
    continue_token: str = ""
    remaining: int = 0


WatchType = Literal["ADDED", "MODIFIED", "DELETED"]
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
            revision, after = _parse_continue(continue_token, resource_name(kind))
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
            token = _format_continue(revision, items[limit - 1].key)
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
        metadata = self._check_identity(kind, namespace, obj)
        if metadata.get("resourceVersion"):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        for attempt in range(ATTEMPTS):
            new = copy.deepcopy(obj) if attempt + 1 < ATTEMPTS else obj
            guards = self._namespace_guard(kind, namespace)
            self._prepare_creation(kind, new)
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
        metadata = self._check_identity(kind, namespace, obj)
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
                    new = json_patch(copy.deepcopy(old), patch)
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
            new = copy.deepcopy(new)
            self._check_identity(kind, namespace, new)
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
            _check_preconditions(kind, stored, options.uid, options.resource_version)
            new = self._marked_for_deletion(kind, stored.object, options)
            if new == stored.object:
                return stored, False
            try:
                if _is_finished(new):
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
            _check_preconditions(
                kind, stored, metadata.get("uid") or "", metadata.get("resourceVersion") or ""
            )
            self._prepare_update(kind, new, old, subresource)
            if not trusted:
                self._check(kind, new, old, options)
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if new == old:
                return stored
            admission(kind, new, old)
            if _spec_of(new) != _spec_of(old) and "generation" in old["metadata"]:
                new["metadata"]["generation"] = old["metadata"]["generation"] + 1
            steps: list[Step]
            if _is_finished(new):
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
        except DatabaseError as error:
            raise status.unavailable(f"nothing was changed: {error}") from error

    # Rules

    def _check_identity(self, kind: Kind, namespace: str, obj: Object) -> dict[str, Any]:
        """The object's metadata, if the object is what the request's path says."""
        if obj.get("kind", kind.name) != kind.name:
            raise status.bad_request(
                f"the kind in the data ({obj.get('kind')}) does not match the expected kind ({kind.name})"
            )
        if obj.get("apiVersion", kind.api_version) != kind.api_version:
            raise status.bad_request(
                f"the API version in the data ({obj.get('apiVersion')}) does not match the expected API version "
                f"({kind.api_version})"
            )
        obj["apiVersion"], obj["kind"] = kind.api_version, kind.name
        metadata = obj.setdefault("metadata", {})
        if not isinstance(metadata, dict):
            raise status.bad_request(f"expected metadata to be an object, found {type(metadata).__name__}")
        if kind.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                raise status.bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        else:
            metadata.pop("namespace", None)
        for name in ("managedFields", "selfLink"):
            metadata.pop(name, None)
        return metadata

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

    def _prepare_creation(self, kind: Kind, obj: Object) -> None:
        metadata = obj["metadata"]
        for name in SYSTEM_METADATA:
            metadata.pop(name, None)
        if not metadata.get("name") and metadata.get("generateName"):
            alphabet = "bcdfghjklmnpqrstvwxz2456789"
            suffix = "".join(secrets.choice(alphabet) for _ in range(5))
            metadata["name"] = str(metadata["generateName"])[:58] + suffix
        if not metadata.get("name"):
            raise status.invalid(
                kind,
                "",
                [
                    FieldError(
                        "metadata.name",
                        "Required value: name or generateName is required",
                        "FieldValueRequired",
                    )
                ],
            )
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = _timestamp(self._now())
        if "spec" in (kind.schema.get("properties") or {}):
            metadata["generation"] = 1
        if "status" in kind.subresources and (kind.group, kind.plural) != ("", "nodes"):
            obj.pop("status", None)
        if (kind.group, kind.plural) == ("", "pods"):
            obj["status"] = {"phase": "Pending"}
        if (kind.group, kind.plural) == ("", "namespaces"):
            obj.setdefault("spec", {})["finalizers"] = ["kubernetes"]
            obj["status"] = {"phase": "Active"}
            metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]

    def _prepare_update(self, kind: Kind, new: Object, old: Object, subresource: str) -> None:
        metadata, was = new["metadata"], old["metadata"]
        for name in SYSTEM_METADATA:
            metadata.pop(name, None)
            if name in was:
                metadata[name] = was[name]
        if subresource == "status":
            state = new.get("status")
            new.clear()
            new.update(copy.deepcopy({key: value for key, value in old.items() if key != "status"}))
            if state is not None:
                new["status"] = state
        elif "status" in kind.subresources:
            new.pop("status", None)
            if "status" in old:
                new["status"] = copy.deepcopy(old["status"])
        if subresource != "finalize" and (kind.group, kind.plural) == ("", "namespaces"):
            new.setdefault("spec", {})["finalizers"] = (old.get("spec") or {}).get("finalizers", [])
        if was.get("deletionTimestamp"):
            added = set(metadata.get("finalizers") or ()) - set(was.get("finalizers") or ())
            if added:
                raise status.invalid(
                    kind,
                    was["name"],
                    [
                        FieldError(
                            "metadata.finalizers",
                            "Forbidden: no new finalizers can be added if the object is being deleted, "
                            f"found {sorted(added)}",
                            "FieldValueForbidden",
                        )
                    ],
                )

    def _check(self, kind: Kind, obj: Object, old: Object | None, options: Options) -> None:
        metadata = obj["metadata"]
        name = str(metadata["name"])
        kind.default(obj)
        findings = conform(obj, kind.schema)
        if findings.unknown:
            words = [f'unknown field "{path}"' for path in findings.unknown]
            if options.field_validation == "Strict":
                raise status.bad_request(
                    f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: '
                    f"strict decoding error: {', '.join(words)}"
                )
            if options.field_validation == "Warn":
                options.warnings += [word for word in words if word not in options.warnings]
        errors = [] if old is not None else [error for error in [name_error(kind, name)] if error]
        errors += metadata_errors(metadata)
        errors += findings.errors
        if not findings.errors:
            errors += kind.admit(obj, old)
        if resource_name(kind) == custom_resources.RESOURCE and not errors:
            errors += custom_resources.definition_errors(obj, self.registry)
            if not errors:
                custom_resources.establish(obj, _timestamp(self._now()))
        if errors:
            raise status.invalid(kind, name, errors)

    def _marked_for_deletion(self, kind: Kind, obj: Object, options: DeleteOptions) -> Object:
        new = copy.deepcopy(obj)
        metadata = new["metadata"]
        finalizers = [
            f for f in metadata.get("finalizers") or [] if f not in {"orphan", "foregroundDeletion"}
        ]
        if options.propagation == "Orphan":
            finalizers.append("orphan")
        elif options.propagation == "Foreground":
            finalizers.append("foregroundDeletion")
        elif metadata.get("deletionTimestamp"):
            finalizers = metadata.get("finalizers") or []
        if finalizers:
            metadata["finalizers"] = finalizers
        else:
            metadata.pop("finalizers", None)
        grace = _grace(kind, new, options)
        before = metadata.get("deletionGracePeriodSeconds")
        if metadata.get("deletionTimestamp") and before is not None and grace >= before:
            return new
        if (kind.group, kind.plural) == ("", "namespaces"):
            new.setdefault("status", {})["phase"] = "Terminating"
        if not metadata.get("deletionTimestamp") and "generation" in metadata:
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = _timestamp(self._now() + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        return new


def watch_event(change: Change, selection: Selection) -> tuple[WatchType, Stored] | None:
    """What a watcher with this selection sees of a change: entering it is ADDED, leaving it is DELETED."""
    before = change.before is not None and selection.matches(change.before.object)
    now = change.now is not None and selection.matches(change.now.object)
    if now:
        return ("MODIFIED" if before else "ADDED"), change.last
    return ("DELETED", change.last) if before else None


async def events(watcher: Watcher, selection: Selection) -> AsyncIterator[tuple[WatchType, Stored]]:
    """What `watcher` sees, without end. Raises `LaggingError`."""
    while True:
        for change in watcher.take():
            if event := watch_event(change, selection):
                yield event
        await watcher.wait()


def _check_preconditions(kind: Kind, stored: Stored, uid: str, resource_version: str) -> None:
    metadata = stored.object["metadata"]
    if uid and uid != metadata["uid"]:
        raise status.conflict(
            kind,
            stored.key.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}",
        )
    if resource_version and resource_version != metadata["resourceVersion"]:
        raise status.conflict(kind, stored.key.name)


def _spec_of(obj: Object) -> Mapping[str, Any]:
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}


def _is_finished(obj: Object) -> bool:
    """Whether nothing holds a deleted object any more: no finalizer, no grace period, no content."""
    metadata = obj["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not (
            obj["kind"] == "Namespace"
            and obj["apiVersion"] == "v1"
            and (obj.get("spec") or {}).get("finalizers")
        )
    )


def _grace(kind: Kind, obj: Object, options: DeleteOptions) -> int:
    """Only a pod that a node runs is given time to end."""
    if (kind.group, kind.plural) != ("", "pods"):
        return 0
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
        return 0
    if options.grace_period_seconds is not None:
        return max(0, options.grace_period_seconds)
    return int(spec.get("terminationGracePeriodSeconds", GRACE_SECONDS))


def _timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _format_continue(revision: int, key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, *key])).decode().rstrip("=")


def _parse_continue(token: str, resource: str) -> tuple[int, Key]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        revision, *key = msgspec.json.decode(raw, type=tuple[int, str, str, str])
    except ValueError as error:
        raise status.bad_request(
            "continue key is not valid: expected a token that a list answered"
        ) from error
    if key[0] != resource:
        raise status.bad_request(f"continue key is not valid: it is of {key[0]}, not of {resource}")
    return revision, Key(*key)
