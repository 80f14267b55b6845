"""What hauberkd asks of the certificate authority: the ring `identity` behind one interface."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import grpc

from hauberk.daemon.admission import Refusal
from hauberk.daemon.credentials import ApiIssuer
from hauberk.daemon.peer import Peer

Judge = Callable[[Peer, str, str], Refusal | None]
"""(who asks, the SPIFFE ID that it asks for, the pod's UID) → why not, or None."""


class Authority(ApiIssuer, Protocol):
    """Issues certificates and renews its own."""

    def handler(self, judge: Judge) -> grpc.GenericRpcHandler:
        """The CA's gRPC service, asking `judge` before it signs."""

    def rotate(self, now: datetime) -> datetime:
        """Do what is due and return when to call again; `root_pem` may have changed.

        Raises:
            OSError: the new authorities could not be written; those in use stay.
        """
