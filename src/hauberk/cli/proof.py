"""The identity ring of one side of a call, checked against the trust bundle where its certificate is kept."""

from datetime import datetime

from hauberk.chain.record import Endpoint
from hauberk.chain.ring import Link, Ring, State
from hauberk.chain.why import identity_as_recorded
from hauberk.cli.node_api import svid_chain
from hauberk.identity.proof import UnprovenIdentityError, prove
from hauberk.store.http_client import HttpClient


async def identity_link(client: HttpClient, side: Endpoint, time: str) -> Link:
    """Verified if the SVID's chain is kept by a node and leads to the root at the time of the call."""
    recorded = identity_as_recorded(side)
    if not side.spiffe_id or not side.serial:
        return recorded
    chain = await svid_chain(client, side.serial)
    if chain is None:
        return recorded
    try:
        proven = prove(
            chain,
            client.connection.certificate_authority,
            at=datetime.fromisoformat(time),
            spiffe_id=side.spiffe_id,
            serial=side.serial,
        )
    except UnprovenIdentityError as error:
        return Link(Ring.IDENTITY, State.FAILED, f"{side.spiffe_id}: {error}", recorded.facts)
    line = (
        f"{proven.spiffe_id}, SVID {proven.serial}, by {proven.issuer}, until {proven.not_after.isoformat()}"
    )
    return Link(Ring.IDENTITY, State.VERIFIED, line, recorded.facts | {"issuer": proven.issuer})
