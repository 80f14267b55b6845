"""Subresources that are more than a part of their object: scale, binding, eviction, token."""

import copy
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from hauberk.model.kind import Kind, Object
from hauberk.store import node_authorization, status
from hauberk.store.bodies import parse_as
from hauberk.store.call import DeleteBody
from hauberk.store.client import ApiError
from hauberk.store.database import Key
from hauberk.store.objects import Admission, Objects
from hauberk.store.options import DeleteOptions, Options
from hauberk.store.patch import PatchError, json_patch, merge_patch
from hauberk.store.scale import scale_of, with_scale
from hauberk.store.service_account_tokens import TokenIssuer
from hauberk.store.storage import Stored
from hauberk.store.user import User

DEFAULT_TOKEN_SECONDS = 3600
MOST_TOKEN_SECONDS = 2**32
"""As Kubernetes takes them; the issuer gives at most a day."""
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


class Named(msgspec.Struct, rename="camel", frozen=True):
    """What says which object is meant."""

    name: str = ""
    uid: str = ""
    kind: str = ""


class Binding(msgspec.Struct, frozen=True):
    """`v1.Binding`."""

    target: Named
    metadata: Named = Named()


class Eviction(msgspec.Struct, rename="camel", frozen=True):
    """`policy/v1.Eviction`."""

    delete_options: DeleteBody = DeleteBody()


class TokenRequestSpec(msgspec.Struct, rename="camel", frozen=True):
    """What a token is asked for."""

    audiences: tuple[str, ...] = ()
    expiration_seconds: int | None = None
    bound_object_ref: Named | None = None


class TokenRequest(msgspec.Struct, frozen=True):
    """`authentication.k8s.io/v1.TokenRequest`."""

    spec: TokenRequestSpec = TokenRequestSpec()


async def bind_pod(objects: Objects, kind: Kind, key: Key, body: Object, options: Options) -> Object:
    """Bind a pod to the node that a `v1.Binding` names, once. Raises `ApiError`."""
    binding = parse_as(Binding, body)
    node = binding.target.name
    if not node:
        raise status.bad_request("expected target.name to be the node to bind to")
    stored = objects.get(kind, key.namespace, key.name)
    pod = copy.deepcopy(stored.object)
    if binding.metadata.uid not in {"", pod["metadata"]["uid"]}:
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


async def evict_pod(objects: Objects, kind: Kind, key: Key, body: Object, options: Options) -> Object:
    """Delete a pod as a `policy/v1.Eviction` asks. Raises `ApiError`."""
    asked = parse_as(Eviction, body).delete_options
    deletion = DeleteOptions(
        grace_period_seconds=asked.grace_period_seconds,
        uid=asked.preconditions.uid,
        resource_version=asked.preconditions.resource_version,
        dry_run=options.dry_run or "All" in asked.dry_run,
    )
    await objects.delete(kind, key.namespace, key.name, deletion)
    return _success()


def request_token(
    objects: Objects, issuer: TokenIssuer, account: Stored, request: Object, user: User
) -> Object:
    """Answer an `authentication.k8s.io/v1.TokenRequest`. Raises `ApiError` 400, 403 or 404."""
    asked = parse_as(TokenRequest, request).spec
    spec: Object = request.get("spec") or {}
    namespace, name = account.key.namespace, account.key.name
    node_authorization.admit_token(user, objects.storage, namespace, name, spec)
    bound = _bound(objects, namespace, asked.bound_object_ref) if asked.bound_object_ref else None
    seconds = DEFAULT_TOKEN_SECONDS if asked.expiration_seconds is None else asked.expiration_seconds
    if not 600 <= seconds <= MOST_TOKEN_SECONDS:
        raise status.bad_request(
            f"spec.expirationSeconds: Invalid value: {seconds}: expected from 600 to {MOST_TOKEN_SECONDS}"
        )
    audiences = list(asked.audiences) or [issuer.issuer]
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


def _bound(objects: Objects, namespace: str, reference: Named) -> Object:
    resource = {"Pod": "pods", "Secret": "secrets"}.get(reference.kind)
    if resource is None:
        raise status.bad_request(
            f"spec.boundObjectRef.kind: expected Pod or Secret, found {reference.kind!r}"
        )
    name = reference.name
    stored = objects.storage.get(Key(resource, namespace, name))
    if stored is None or reference.uid not in {"", stored.object["metadata"]["uid"]}:
        raise ApiError(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})
    return stored.object


def _success() -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
