"""The node's own credential: `hauberkd` writes it anew in time, and the agent takes it up by starting anew.

The API client, the CA's channel and the node's own server all hold the certificate and the roots that they were opened
with. An agent that starts finds everything again by itself, so that one way serves for all of them.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from hauberk.identity.certificate import Validity
from hauberk.store.kubeconfig import Connection, KubeconfigError, read_kubeconfig

log = logging.getLogger(__name__)
LOOK_SECONDS = 10.0


def supersedes(found: Connection, used: Connection, now: datetime) -> bool:
    """Whether to take what the file holds: other roots at once, another certificate after half the life of ours."""
    if found.certificate_authority != used.certificate_authority:
        return True
    if found.client_certificate == used.client_certificate:
        return False
    ours = _validity(used)
    return now >= ours.not_before + ours.lifetime / 2 or not ours.contains(now)


async def superseded(
    file: Path, used: Connection, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> None:
    """Returns once `file` holds what supersedes the credential in use."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        try:
            found = read_kubeconfig(file)
        except KubeconfigError as error:
            log.warning("the node's credential cannot be read anew: %s; the one in use serves on", error)
            continue
        if supersedes(found, used, clock()):
            return


def _validity(connection: Connection) -> Validity:
    """Of the whole chain: it is over with the first certificate of it."""
    chain = [Validity.of(each) for each in x509.load_pem_x509_certificates(connection.client_certificate)]
    return Validity(max(each.not_before for each in chain), min(each.not_after for each in chain))
