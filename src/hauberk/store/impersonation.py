"""Who a caller asks to be taken for: the `Impersonate-` headers, each a right of its own. Pure."""

from collections.abc import Callable, Iterator

from multidict import CIMultiDictProxy

from hauberk.store import status
from hauberk.store.request_info import RequestInfo
from hauberk.store.user import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User

USER, GROUP = "impersonate-user", "impersonate-group"
SERVICE_ACCOUNT = "system:serviceaccount:"


def impersonated(
    headers: CIMultiDictProxy[str], path: str, user: User, authorize: Callable[[User, RequestInfo], None]
) -> User:
    """`user`, or who they ask to be if `authorize` lets them. Raises `ApiError` 400 or 403."""
    asked = sorted({key.lower() for key in headers if key.lower().startswith("impersonate-")})
    if not asked:
        return user
    name, groups = headers.get(USER, ""), headers.getall(GROUP, [])
    if not name:
        raise status.bad_request("requested impersonation without Impersonate-User")
    if any(key not in {USER, GROUP} for key in asked):
        raise status.bad_request(f"expected only Impersonate-User and Impersonate-Group, found {asked}")
    for request in _rights(path, name, groups):
        authorize(user, request)
    return User(name, frozenset({*groups, *_implied_groups(name)}))


def _rights(path: str, name: str, groups: list[str]) -> Iterator[RequestInfo]:
    """What the caller must be allowed to, for each of the names."""
    if account := _service_account(name):
        namespace, account_name = account
        yield RequestInfo(
            "impersonate", path, "", "v1", namespace=namespace, resource="serviceaccounts", name=account_name
        )
    else:
        yield RequestInfo("impersonate", path, resource="users", name=name)
    for group in groups:
        yield RequestInfo("impersonate", path, resource="groups", name=group)


def _implied_groups(name: str) -> Iterator[str]:
    """Those that the name alone brings with it."""
    yield UNAUTHENTICATED if name == ANONYMOUS.name else AUTHENTICATED
    if account := _service_account(name):
        yield from ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")


def _service_account(name: str) -> tuple[str, str] | None:
    """Namespace and name, if that is what `name` says."""
    namespace, _, account = name.removeprefix(SERVICE_ACCOUNT).partition(":")
    return (namespace, account) if name.startswith(SERVICE_ACCOUNT) and namespace and account else None
