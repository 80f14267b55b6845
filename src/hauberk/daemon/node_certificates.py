"""Signs nodes' CertificateSigningRequests: the loop around `signing_request.judge`."""

import base64
import copy
import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from hauberk import fault
from hauberk.daemon.admission import Refusal
from hauberk.daemon.signing_request import CLIENT_SIGNER, Granted, is_open, judge, with_condition
from hauberk.identity.authority import AuthorityError, CertificateAuthority
from hauberk.identity.bundle import chain_pem
from hauberk.model import kinds
from hauberk.model.kind import Object
from hauberk.store.client import ApiError, Client, Event
from hauberk.store.informer import Informer
from hauberk.workloads.queue import WorkQueue

log = logging.getLogger(__name__)


class NodeCertificates:
    """Approves, signs or denies each request once; a failure is tried again, ever more slowly."""

    def __init__(
        self,
        client: Client,
        requests: Informer,
        nodes: Mapping[tuple[str, str], Object],
        authority: CertificateAuthority,
        now: Callable[[], datetime],
    ) -> None:
        self._client = client
        self._requests = requests
        self._nodes = nodes
        self._authority = authority
        self._now = now
        self._queue = WorkQueue()

    async def run(self) -> None:
        """Work until cancelled."""
        self._requests.subscribe(self._see)
        while True:
            key = await self._queue.take()
            try:
                await self._work(key[1])
                self._queue.succeeded(key)
            except (ApiError, AuthorityError, OSError) as error:
                seconds = self._queue.failed(key)
                log.warning("certificate request %s: %s; again in %.1f s", key[1], error, seconds)
            except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
                seconds = self._queue.failed(key)
                said = fault.described(error)
                log.error("certificate request %s: fault: %s; again in %.1f s", key[1], said, seconds)
            finally:
                self._queue.done(key)

    def _see(self, event: Event) -> None:
        if event.type != "DELETED" and is_open(event.object):
            self._queue.add(("", event.object["metadata"]["name"]))

    async def _work(self, name: str) -> None:
        try:
            request = await self._client.get(kinds.CERTIFICATE_SIGNING_REQUEST, None, name)
        except ApiError as error:
            if error.code == 404:
                return
            raise
        if not is_open(request):
            return
        verdict = judge(request, self._addresses(request))
        if isinstance(verdict, Refusal):
            log.warning("certificate request %s denied: %s", name, verdict.reason)
            denied = with_condition(request, "Denied", "NotTheNodes", verdict.reason, self._now())
            await self._client.update(kinds.CERTIFICATE_SIGNING_REQUEST, denied, subresource="approval")
            return
        await self._sign(request, verdict)

    async def _sign(self, request: Object, granted: Granted) -> None:
        conditions = (request.get("status") or {}).get("conditions") or ()
        if not any(condition["type"] == "Approved" for condition in conditions):
            message = "the node asks for a certificate in its own name"
            request = with_condition(request, "Approved", "AutoApproved", message, self._now())
            request = await self._client.update(
                kinds.CERTIFICATE_SIGNING_REQUEST, request, subresource="approval"
            )
        if granted.signer == CLIENT_SIGNER:
            user = f"system:node:{granted.node}"
            issued = self._authority.sign_api_client(granted.public_key, user, ("system:nodes",))
        else:
            issued = self._authority.sign_api_server(granted.public_key, granted.names)
        signed = copy.deepcopy(request)
        signed.setdefault("status", {})["certificate"] = base64.b64encode(chain_pem(issued.chain)).decode()
        await self._client.update(kinds.CERTIFICATE_SIGNING_REQUEST, signed, subresource="status")
        log.info("certificate request %s: signed for node %s", request["metadata"]["name"], granted.node)

    def _addresses(self, request: Object) -> frozenset[str]:
        node = str(request["spec"].get("username", "")).removeprefix("system:node:")
        found = self._nodes.get(("", node)) or {}
        listed = (found.get("status") or {}).get("addresses") or ()
        return frozenset({str(entry["address"]) for entry in listed} | {"127.0.0.1", "localhost"})
