"""Subresources that are more than a part of their object: scale, binding, eviction, token."""

import copy
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store import node_authorization, status
from hauberk.store.client import ApiError
from hauberk.store.database import Key
from hauberk.store.objects import Admission, DeleteOptions, Objects, Options
from hauberk.store.patch import PatchError, json_patch, merge_patch
from hauberk.store.scale import scale_of, with_scale
from hauberk.store.service_account_tokens import TokenIssuer
from hauberk.store.storage import Stored
from hauberk.store.user import User

DEFAULT_TOKEN_SECONDS = 3600
RETRIES = 16


async def update_scale(
    objects: Objects,
    kind: Kind,
    key: Key,
    change: Callable[[Object], Any],
    options: Options,
    admission: Admission,
) -> Object:
    """Set the replicas to what `change` makes of the Scale. Raises `ApiError`."""
    for _ in range(RETRIES):
        stored = objects.get(kind, key.namespace, key.name)
        current = scale_of(stored.in_version(kind.api_version))
        new = with_scale(kind, stored.in_version(kind.api_version), change(current))
        try:
            updated = await objects.update(kind, key.namespace, key.name, new, options, admission=admission)
        except ApiError as error:
            # What names no other version than was just read has only met a change in between.
            if error.code == 409 and new["metadata"]["resourceVersion"] == str(stored.revision):
                continue
            raise
        return scale_of(updated.in_version(kind.api_version))
    raise status.conflict(kind, key.name)


def patched_scale(patch_type: str, patch: Any) -> Callable[[Object], Any]:
    """A change of a Scale by a patch; raises `ApiError` 400 when it is made."""

    def change(scale: Object) -> Any:
        try:
            return json_patch(scale, patch) if patch_type == "json" else merge_patch(scale, patch)
        except PatchError as error:
            raise status.bad_request(str(error)) from error

    return change


async def bind_pod(objects: Objects, kind: Kind, key: Key, binding: Object, options: Options) -> Object:
    """Bind a pod to the node that a `v1.Binding` names, once. Raises `ApiError`."""
    node = str((binding.get("target") or {}).get("name") or "")
    if not node:
        raise status.bad_request("expected target.name to be the node to bind to")
    stored = objects.get(kind, key.namespace, key.name)
    pod = copy.deepcopy(stored.object)
    wanted = (binding.get("metadata") or {}).get("uid")
    if wanted and wanted != pod["metadata"]["uid"]:
        raise status.conflict(kind, key.name, "the pod is another than the binding means")
    if pod["metadata"].get("deletionTimestamp"):
        raise status.conflict(
            kind, key.name, f"pod {key.name} is being deleted, cannot be assigned to a host"
        )
    if bound := pod["spec"].get("nodeName"):
        raise status.conflict(kind, key.name, f"pod {key.name} is already assigned to node {bound}")
    pod["spec"]["nodeName"] = node
    await objects.update(kind, key.namespace, key.name, pod, options, trusted=True)
    return _success()


async def evict_pod(objects: Objects, kind: Kind, key: Key, eviction: Object) -> Object:
    """Delete a pod as a `policy/v1.Eviction` asks. Raises `ApiError`."""
    asked = eviction.get("deleteOptions") or {}
    options = DeleteOptions(
        grace_period_seconds=asked.get("gracePeriodSeconds"),
        uid=str((asked.get("preconditions") or {}).get("uid") or ""),
        dry_run="All" in (asked.get("dryRun") or ()),
    )
    await objects.delete(kind, key.namespace, key.name, options)
    return _success()


def request_token(
    objects: Objects, issuer: TokenIssuer, account: Stored, request: Object, user: User
) -> Object:
    """Answer an `authentication.k8s.io/v1.TokenRequest`. Raises `ApiError` 400, 403 or 404."""
    spec = request.get("spec") or {}
    namespace, name = account.key.namespace, account.key.name
    node_authorization.admit_token(user, objects.storage, namespace, name, spec)
    bound = None
    if reference := spec.get("boundObjectRef"):
        bound = _bound(objects, namespace, reference)
    seconds = spec.get("expirationSeconds") or DEFAULT_TOKEN_SECONDS
    if not isinstance(seconds, int) or seconds < 600:
        raise status.bad_request(
            f"spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration less than 10 minutes"
        )
    audiences = [str(audience) for audience in spec.get("audiences") or ()] or [issuer.issuer]
    token, expires = issuer.issue(account.object, audiences, seconds, bound)
    moment = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    created = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created},
        "spec": {**spec, "audiences": audiences, "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": moment},
    }


def _bound(objects: Objects, namespace: str, reference: Object) -> Object:
    resource = {"Pod": "pods", "Secret": "secrets"}.get(str(reference.get("kind")))
    if resource is None:
        raise status.bad_request(
            f"spec.boundObjectRef.kind: expected Pod or Secret, found {reference.get('kind')!r}"
        )
    name = str(reference.get("name") or "")
    stored = objects.storage.get(Key(resource, namespace, name))
    uid = reference.get("uid")
    if stored is None or (uid and stored.object["metadata"]["uid"] != uid):
        raise ApiError(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})
    return stored.object


def _success() -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
