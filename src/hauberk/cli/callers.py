"""Who makes a call: a pod, a service account, or somebody who proves nothing."""

from dataclasses import dataclass

from hauberk.cli.errors import CommandError, ExitCode
from hauberk.cli.pods import pod_of
from hauberk.cli.references import WorkloadReference
from hauberk.mesh.registry import Mesh
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.client import ApiError
from hauberk.store.http_client import HttpClient

ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of it."""

    principal: str | None
    """Its SPIFFE ID; None: it proves nothing."""
    address: str | None
    """None: not known."""
    pod: Object | None = None

    def __str__(self) -> str:
        return self.principal or "an anonymous caller"


async def caller_of(client: HttpClient, word: str, namespace: str) -> Caller:
    """`anonymous`, or `NAMESPACE/NAME` of a pod, of what makes pods, or of a service account.

    Raises:
        CommandError: there is none of that name.
    """
    if word == ANONYMOUS:
        return Caller(None, None)
    reference = WorkloadReference.parse(word, namespace)
    try:
        pod = await pod_of(client, reference)
    except CommandError:
        try:
            await client.get(kinds.SERVICE_ACCOUNT, reference.namespace, reference.name)
        except ApiError as error:
            raise CommandError(
                f"--from {word}: expected a pod, what makes pods, a service account or {ANONYMOUS}; found none",
                f"hauberk get pods,serviceaccounts -n {reference.namespace}",
                ExitCode.USAGE,
            ) from error
        return Caller(_spiffe_id(reference.namespace, reference.name), None)
    account = pod["spec"].get("serviceAccountName") or "default"
    address = (pod.get("status") or {}).get("podIP")
    return Caller(_spiffe_id(reference.namespace, account), address, pod)


def _spiffe_id(namespace: str, account: str) -> str:
    return f"spiffe://{Mesh().trust_domain}/ns/{namespace}/sa/{account}"
