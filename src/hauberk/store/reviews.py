"""Questions about access, asked by creating an object that is answered and never stored."""

from dataclasses import dataclass
from typing import Any

from hauberk.model.kind import Kind, Object
from hauberk.store import status
from hauberk.store.authorization import RoleAuthorizer, rules_review
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


@dataclass(frozen=True, slots=True)
class Reviews:
    """Answers the questions."""

    authorizer: Authorizer
    roles: RoleAuthorizer
    issuer: TokenIssuer

    def answer(self, kind: Kind, obj: Object, user: User) -> Object:
        """`obj` with its status. Raises `ApiError` 400."""
        spec = obj.get("spec") or {}
        match kind.name:
            case "SelfSubjectAccessReview":
                answered = self._access(spec, user)
            case "SubjectAccessReview" | "LocalSubjectAccessReview":
                groups = frozenset(spec.get("groups") or ())
                answered = self._access(spec, User(str(spec.get("user") or ""), groups))
            case "SelfSubjectRulesReview":
                answered = self._rules(spec, user)
            case "TokenReview":
                answered = self._token(spec)
            case _:
                answered = {"userInfo": _user_info(user)}
        return {
            "kind": kind.name,
            "apiVersion": kind.api_version,
            "metadata": {"creationTimestamp": None, **(obj.get("metadata") or {})},
            "spec": spec,
            "status": answered,
        }

    def _access(self, spec: Object, user: User) -> Object:
        resource, other = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes") or {}
        if bool(resource) == bool(other):
            raise status.bad_request(
                "expected exactly one of spec.resourceAttributes and spec.nonResourceAttributes"
            )
        if resource:
            request = RequestInfo(
                *(
                    str(resource.get(f) or "")
                    for f in (
                        "verb",
                        "path",
                        "group",
                        "version",
                        "namespace",
                        "resource",
                        "name",
                        "subresource",
                    )
                )
            )
            selector = _field_selector(resource)
        else:
            request, selector = RequestInfo(str(other.get("verb") or ""), str(other.get("path") or "")), ""
        decision = self.authorizer.authorize(user, request, selector)
        return {"allowed": decision.allowed, "reason": decision.reason}

    def _rules(self, spec: Object, user: User) -> Object:
        if "system:masters" in user.groups:
            everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            return {
                "resourceRules": [everything],
                "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                "incomplete": False,
            }
        return rules_review(self.roles.grants(user, str(spec.get("namespace") or "")))

    def _token(self, spec: Object) -> Object:
        audiences = [str(audience) for audience in spec.get("audiences") or ()] or [self.issuer.issuer]
        user = self.issuer.verify_for(str(spec.get("token") or ""), audiences)
        if user is None:
            return {
                "authenticated": False,
                "error": "the token is not one of this issuer's, or no longer good",
            }
        return {"authenticated": True, "user": _user_info(user), "audiences": audiences}


def _field_selector(attributes: Object) -> str:
    selector: dict[str, Any] = attributes.get("fieldSelector") or {}
    return str(selector.get("rawSelector") or "")


def _user_info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": sorted(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info
