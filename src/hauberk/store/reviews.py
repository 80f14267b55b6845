"""Questions about access, asked by creating an object that is answered and never stored."""

from dataclasses import dataclass
from typing import Any

import msgspec

from hauberk.model.kind import Kind, Object
from hauberk.store import status
from hauberk.store.authorization import RoleAuthorizer, rules_review
from hauberk.store.bodies import parse_as
from hauberk.store.request_info import RequestInfo
from hauberk.store.service_account_tokens import TokenIssuer
from hauberk.store.user import Authorizer, User

_OPEN: Object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _review(group: str, name: str, plural: str, *, namespaced: bool = False) -> Kind:
    schema = {
        "type": "object",
        "description": "A question that is answered and not stored.",
        "properties": {"spec": _OPEN, "status": _OPEN},
    }
    return Kind(group, "v1", name, plural, namespaced, schema)


AUTHORIZATION = "authorization.k8s.io"
AUTHENTICATION = "authentication.k8s.io"
KINDS = (
    _review(AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    _review(AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews"),
    _review(AUTHORIZATION, "LocalSubjectAccessReview", "localsubjectaccessreviews", namespaced=True),
    _review(AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews"),
    _review(AUTHENTICATION, "TokenReview", "tokenreviews"),
    _review(AUTHENTICATION, "SelfSubjectReview", "selfsubjectreviews"),
)


class FieldSelectorAttributes(msgspec.Struct, rename="camel", frozen=True):
    """How far a list is held to some fields."""

    raw_selector: str = ""


class ResourceAttributes(msgspec.Struct, rename="camel", frozen=True):
    """A request of a resource."""

    verb: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    name: str = ""
    subresource: str = ""
    field_selector: FieldSelectorAttributes = FieldSelectorAttributes()


class OtherAttributes(msgspec.Struct, frozen=True):
    """A request of something else."""

    verb: str = ""
    path: str = ""


class ReviewSpec(msgspec.Struct, rename="camel", frozen=True):
    """What any of the reviews may ask."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: OtherAttributes | None = None
    user: str = ""
    groups: tuple[str, ...] = ()
    namespace: str = ""
    token: str = ""
    audiences: tuple[str, ...] = ()


class Review(msgspec.Struct, frozen=True):
    """A review, as it is sent."""

    spec: ReviewSpec = ReviewSpec()
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reviews:
    """Answers the questions."""

    authorizer: Authorizer
    roles: RoleAuthorizer
    issuer: TokenIssuer

    def answer(self, kind: Kind, namespace: str, obj: Object, user: User) -> Object:
        """`obj`, asked in `namespace`, with its status. Raises `ApiError` 400."""
        review = parse_as(Review, obj)
        spec = review.spec
        match kind.name:
            case "SelfSubjectAccessReview":
                answered = self._access(spec, user)
            case "LocalSubjectAccessReview" if (
                spec.resource_attributes is None or spec.resource_attributes.namespace != namespace
            ):
                raise status.bad_request(
                    f"spec.resourceAttributes.namespace: expected {namespace!r}, in which this is asked"
                )
            case "SubjectAccessReview" | "LocalSubjectAccessReview":
                answered = self._access(spec, User(spec.user, frozenset(spec.groups)))
            case "SelfSubjectRulesReview":
                answered = self._rules(spec, user)
            case "TokenReview":
                answered = self._token(spec)
            case _:
                answered = {"userInfo": _user_info(user)}
        return {
            "kind": kind.name,
            "apiVersion": kind.api_version,
            "metadata": {"creationTimestamp": None, **review.metadata},
            "spec": obj.get("spec") or {},
            "status": answered,
        }

    def _access(self, spec: "ReviewSpec", user: User) -> Object:
        resource, other = spec.resource_attributes, spec.non_resource_attributes
        if (resource is None) == (other is None):
            raise status.bad_request(
                "expected exactly one of spec.resourceAttributes and spec.nonResourceAttributes"
            )
        selector = ""
        if resource is not None:
            request = RequestInfo(
                resource.verb,
                "",
                resource.group,
                resource.version,
                resource.namespace,
                resource.resource,
                resource.name,
                resource.subresource,
            )
            selector = resource.field_selector.raw_selector
        else:
            request = RequestInfo(other.verb, other.path) if other else RequestInfo("", "")
        decision = self.authorizer.authorize(user, request, selector)
        return {"allowed": decision.allowed, "reason": decision.reason}

    def _rules(self, spec: "ReviewSpec", user: User) -> Object:
        if "system:masters" in user.groups:
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            return {
                "resourceRules": [everything],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": False,
            }
        return rules_review(self.roles.grants(user, spec.namespace))

    def _token(self, spec: "ReviewSpec") -> Object:
        audiences = list(spec.audiences) or [self.issuer.issuer]
        user = self.issuer.verify_for(spec.token, audiences)
        if user is None:
            return {
                "authenticated": False,
                "error": "the token is not one of this issuer's, or no longer good",
            }
        return {"authenticated": True, "user": _user_info(user), "audiences": audiences}


def _user_info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": sorted(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
