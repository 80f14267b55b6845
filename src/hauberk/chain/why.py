"""Why a call was allowed or refused: the chain, ring by ring, as far as it exists for that call."""

from dataclasses import dataclass

from hauberk.chain.record import Connection, Decision, DryRun, Endpoint, Request
from hauberk.chain.ring import Link, Ring, State

_NOT_YET = {
    Ring.SOURCE: "nobody stated who owns and approved the source",
    Ring.BUILD: "nobody stated how the program was built",
    Ring.RELEASE: "nobody stated that the program was released",
    Ring.BOOT: "the machine has not attested how it booted",
    Ring.SANDBOX: "the node has not signed how the pod is isolated",
    Ring.ENCLAVE: "the program does not run in an enclave",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One party of the call and the rings known of it."""

    title: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """The answer for one call."""

    verdict: str
    sentence: str
    sides: tuple[Side, ...]
    policy: Link
    call: Link

    @property
    def missing(self) -> tuple[Ring, ...]:
        """The rings that nobody stated, for either side, each named once."""
        absent = {link.ring for side in self.sides for link in side.links if link.state is State.ABSENT}
        return tuple(ring for ring in Ring if ring in absent)

    @property
    def failed(self) -> bool:
        """Whether anything that was checked proved wrong."""
        links = [*(link for side in self.sides for link in side.links), self.policy, self.call]
        return any(link.state is State.FAILED for link in links)


def explain(
    connection: Connection,
    request: Request | None = None,
    *,
    source_identity: Link | None = None,
    destination_identity: Link | None = None,
) -> Why:
    """The chain of one call.

    `request` narrows the answer to one request on that connection; its verdict then counts.
    The identity links come from who can check the certificates; without them what the proxy saw is shown as recorded.
    """
    decision = request.policy if request is not None else connection.policy
    source, destination = connection.source, connection.destination
    return Why(
        verdict=decision.verdict,
        sentence=_sentence(connection, request, decision),
        sides=(
            Side("caller", (*_missing_rings(), source_identity or identity_as_recorded(source))),
            Side("callee", (*_missing_rings(), destination_identity or identity_as_recorded(destination))),
        ),
        policy=_policy(decision),
        call=_call(connection, request),
    )


def identity_as_recorded(side: Endpoint) -> Link:
    """The identity that a proxy wrote down for one side of a connection, not checked again."""
    if not side.spiffe_id:
        return Link(Ring.IDENTITY, State.ABSENT, f"{side.address or 'this side'} proved no identity")
    facts = {"spiffe_id": side.spiffe_id, "serial": side.serial}
    return Link(
        Ring.IDENTITY, State.RECORDED, f"{side.spiffe_id}, SVID {side.serial or 'not recorded'}", facts
    )


def _missing_rings() -> tuple[Link, ...]:
    return tuple(Link(ring, State.ABSENT, line) for ring, line in _NOT_YET.items())


def _sentence(connection: Connection, request: Request | None, decision: Decision) -> str:
    caller = connection.source.spiffe_id or connection.source.address or "an unknown caller"
    callee = (
        connection.destination.service or connection.destination.spiffe_id or connection.destination.address
    )
    what = f"{request.method} {request.path} of " if request is not None else ""
    noted = f" {decision.audit} noted it." if decision.audit else ""
    noted += f" In dry run: {dry_run_words(decision.dry_run)}." if decision.dry_run else ""
    if decision.verdict == "allow":
        by = f"by {decision.policy}" if decision.policy else "as no policy applies to the callee"
        return f"{what}{caller} to {callee}:{connection.destination.port} was allowed {by}.{noted}"
    by = f"by {decision.policy}" if decision.policy else f"as {decision.reason or 'no policy allows it'}"
    return f"{what}{caller} to {callee}:{connection.destination.port} was refused {by}.{noted}"


def dry_run_words(dry_run: DryRun) -> str:
    """What policies in dry run would have decided."""
    return f"{dry_run.policy or 'no policy matched'} → {dry_run.verdict}"


def _policy(decision: Decision) -> Link:
    if decision.policy:
        line = f"{decision.policy} → {decision.verdict}"
    elif decision.verdict == "deny":
        line = f"{decision.reason or 'no policy allows it'} → deny"
    else:
        line = "no policy applies → allow"
    facts = {
        "policy": decision.policy,
        "revision": decision.revision,
        "verdict": decision.verdict,
        "reason": decision.reason,
        "audit": decision.audit,
        "authorizer": decision.authorizer,
        "dry_run": dry_run_words(decision.dry_run) if decision.dry_run else "",
    }
    revision = f" (revision {decision.revision})" if decision.revision else ""
    noted = f"; authorizer {decision.authorizer} was asked" if decision.authorizer else ""
    noted += f"; audited by {decision.audit}" if decision.audit else ""
    noted += f"; in dry run {dry_run_words(decision.dry_run)}" if decision.dry_run else ""
    return Link(Ring.POLICY, State.RECORDED, line + revision + noted, {k: v for k, v in facts.items() if v})


def _call(connection: Connection, request: Request | None) -> Link:
    tls = connection.tls
    protection = (
        f"{tls.version}, {tls.group or 'key exchange not recorded'}, {tls.cipher}" if tls else "NOT ENCRYPTED"
    )
    what = f"request {request.id} ({request.status})" if request is not None else "connection"
    line = f"{what} on {connection.id} at {connection.time}, seen by the {connection.reporter} proxy, {protection}"
    facts = {
        "connection": connection.id,
        "time": connection.time,
        "pod": connection.pod,
        "listener": connection.listener,
        "flags": request.flags if request is not None else connection.flags,
    }
    if request is not None:
        facts |= {"request": request.id, "trace_id": request.trace_id, "route": request.route}
    return Link(Ring.CALL, State.RECORDED, line, {k: v for k, v in facts.items() if v})
