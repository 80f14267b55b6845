"""A CertificateSigningRequest says who asked: the API writes that itself, whatever the request claims."""

from hauberk.model.kind import Kind, Object
from hauberk.store.request_info import RequestInfo
from hauberk.store.user import User

NODE_ROLE = "hauberk:node-certificates"


def stamp_requestor(user: User, _info: RequestInfo, kind: Kind, new: Object, old: Object | None) -> None:
    """On creation the requestor is `user`; afterwards nothing of the request changes."""
    if (kind.group, kind.plural) != ("certificates.k8s.io", "certificatesigningrequests"):
        return
    if old is not None:
        new["spec"] = old["spec"]
        return
    new["spec"] |= {"username": user.name, "groups": sorted(user.groups)}
    if user.uid:
        new["spec"]["uid"] = user.uid
    else:
        new["spec"].pop("uid", None)


def node_role() -> list[Object]:
    """Nodes may ask for certificates, and read the answer. What is granted is decided by `signing_request`."""
    rule = {
        "apiGroups": ["certificates.k8s.io"],
        "resources": ["certificatesigningrequests"],
        "verbs": ["create", "get", "list", "watch"],
    }
    api_version, group = "rbac.authorization.k8s.io/v1", "rbac.authorization.k8s.io"
    metadata = {"name": NODE_ROLE}
    return [
        {"apiVersion": api_version, "kind": "ClusterRole", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": api_version,
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": NODE_ROLE},
            "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:nodes"}],
        },
    ]
