"""A CertificateSigningRequest says who asked: the API writes that itself, whatever the request claims."""

from hauberk.model.kind import Kind, Object
from hauberk.store.objects import Admission
from hauberk.store.server import ApiServer, Call
from hauberk.store.user import User

NODE_ROLE = "hauberk:node-certificates"


class RequestorServer(ApiServer):
    """The API with that rule in its admission."""

    def _admission(self, call: Call) -> Admission:
        admit = super()._admission(call)

        def stamp_and_admit(kind: Kind, new: Object, old: Object | None) -> None:
            if (kind.group, kind.plural) == ("certificates.k8s.io", "certificatesigningrequests"):
                stamp_requestor(new, old, call.user)
            admit(kind, new, old)

        return stamp_and_admit


def stamp_requestor(new: Object, old: Object | None, user: User) -> None:
    """On creation the requestor is `user`; afterwards nothing of the request changes."""
    if old is not None:
        new["spec"] = old["spec"]
        return
    new["spec"] |= {"username": user.name, "groups": sorted(user.groups)}
    if user.uid:
        new["spec"]["uid"] = user.uid


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
