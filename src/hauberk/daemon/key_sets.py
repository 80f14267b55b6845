"""Fetches the key sets of tokens' issuers (`jwksUri`, or OpenID Connect discovery), so that no proxy has to.

Whoever may write a RequestAuthentication makes this process open a connection. So there is a bound on everything: HTTPS
alone, no user's name, no redirects, no address of this machine or its link, a few connections at a time, small answers,
and nobody is told what an answer was. A set that was fetched once stays until a newer one comes, however long
its issuer is away.
"""

import asyncio
import ipaddress
import json
import logging
import random
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from hauberk import fault
from hauberk.mesh.ads import Discovery
from hauberk.mesh.registry import SECURITY, Registry
from hauberk.mesh.request_authentication import DISCOVERY, key_set_address
from hauberk.mesh.snapshot import Snapshot
from hauberk.model.jwks import LARGEST_SET, MalformedKeySetError, parse_key_set

MOST_ADDRESSES = 200
AT_ONCE = 4
FETCH_SECONDS = 5.0
REFRESH_SECONDS = 20 * 60.0
LONGEST_WAIT = 60.0
"""Between attempts that fail."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

log = logging.getLogger(__name__)


class NotFetchedError(Exception):
    """A key set cannot be had; the message says why, and never what was answered."""


def is_elsewhere(address: Address) -> bool:
    """Whether an address is neither this machine's own nor of its link (metadata services are)."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return is_elsewhere(address.ipv4_mapped)
    return not (
        address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    )


@dataclass(slots=True)
class _Known:
    """What is known of one address."""

    due: float = 0.0
    """When it is to be fetched again, by the loop's clock."""
    failures: int = 0
    keys: str = ""


@dataclass
class KeySets:
    """Run it in a task. `publish` hears of all sets whenever one has changed."""

    discovery: Discovery
    publish: Callable[[dict[str, str]], None]
    permitted: Callable[[Address], bool] = is_elsewhere
    tls: ssl.SSLContext | bool = True
    """Whom to trust; True: what this machine does."""
    refresh_seconds: float = REFRESH_SECONDS
    _known: dict[str, _Known] = field(default_factory=dict, init=False)

    async def run(self) -> None:
        """Follow the RequestAuthentications until cancelled."""
        connector = aiohttp.TCPConnector(
            limit=AT_ONCE, resolver=_Resolver(self.permitted), ssl=self.tls, use_dns_cache=False
        )
        # Not the connector alone: who waits for a connection there has his five seconds run.
        slots = asyncio.Semaphore(AT_ONCE)
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            seen: Snapshot | None = None
            while True:
                await self._fetch_due(session, slots, self.discovery.snapshot.registry)
                seen = await self._wait(seen)

    async def _fetch_due(
        self, session: aiohttp.ClientSession, slots: asyncio.Semaphore, registry: Registry
    ) -> None:
        # Who is known stays: however many addresses somebody adds, they displace nobody's.
        wanted = sorted(dict.fromkeys(addresses(registry)), key=lambda one: one not in self._known)
        if len(wanted) > MOST_ADDRESSES:
            log.error("key sets: expected at most %d addresses, found %d", MOST_ADDRESSES, len(wanted))
        self._known = {one: self._known.get(one, _Known()) for one in wanted[:MOST_ADDRESSES]}
        now = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as tasks:
            for address, known in self._known.items():
                if known.due <= now:
                    tasks.create_task(self._fetch(session, slots, address, known))
        self.publish({address: known.keys for address, known in self._known.items() if known.keys})

    async def _fetch(
        self, session: aiohttp.ClientSession, slots: asyncio.Semaphore, address: str, known: _Known
    ) -> None:
        try:
            async with slots:
                known.keys = parse_key_set(await self._text(session, address))
        except (NotFetchedError, MalformedKeySetError, aiohttp.ClientError, OSError, TimeoutError) as error:
            wait = _failed(address, known, str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
            wait = _failed(address, known, f"fault: {fault.described(error)}")
        else:
            known.failures, wait = 0, self.refresh_seconds
        known.due = asyncio.get_running_loop().time() + wait * random.uniform(0.8, 1.0)  # noqa: S311

    async def _text(self, session: aiohttp.ClientSession, address: str) -> str:
        text = await self._get(session, address)
        if not address.endswith(DISCOVERY):
            return text
        try:
            found = json.loads(text)["jwks_uri"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise NotFetchedError("expected a jwks_uri in the issuer's configuration") from None
        return await self._get(session, str(found))

    async def _get(self, session: aiohttp.ClientSession, address: str) -> str:
        try:
            url = URL(address)
            named = url.raw_user is not None or url.raw_password is not None
        except ValueError:
            raise NotFetchedError("expected an https:// address, found none") from None
        if named:
            raise NotFetchedError("expected an address without a user's name: everybody may read it")
        # The host as it will be connected to: `１２７。0。0。1` is an address as well.
        if url.scheme != "https" or not url.raw_host:
            raise NotFetchedError("expected an https:// address")
        if (literal := _literal(url.raw_host)) is not None and not self.permitted(literal):
            raise NotFetchedError("the address is of this machine or its link")
        try:
            request = await session.get(url, allow_redirects=False)
        except ValueError:  # the host as the resolver wants it, RFC 5891: labels of 1 to 63 characters
            raise NotFetchedError("expected the address of a host, found no name of one") from None
        async with request as response:
            if response.status != 200:
                raise NotFetchedError(f"expected status 200, found {response.status}")
            body = b""
            async for chunk in response.content.iter_chunked(16 * 1024):
                body += chunk
                if len(body) > LARGEST_SET:
                    raise NotFetchedError(f"expected at most {LARGEST_SET} bytes, found more")
        return body.decode(errors="replace")

    async def _wait(self, seen: Snapshot | None) -> Snapshot | None:
        """Until the mesh has changed or something is due."""
        soonest = min((known.due for known in self._known.values()), default=None)
        wait = None if soonest is None else max(0.1, soonest - asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(wait):
                return await self.discovery.later_than(seen)
        except TimeoutError:
            return seen


def _failed(address: str, known: _Known, reason: str) -> float:
    """Say so; in how many seconds to try again."""
    known.failures += 1
    wait = back_off(known.failures)
    _, at, rest = address.rpartition("@")
    shown = f"…@{rest}" if at else address
    log.warning("key set %s: %s; again in %.0f s", shown, reason, wait)
    return wait


def back_off(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(2.0 ** min(failures, 10), LONGEST_WAIT)


def addresses(registry: Registry) -> Iterator[str]:
    """Where the key sets of all RequestAuthentications are to be fetched."""
    for policy in registry.of_kind(SECURITY, "RequestAuthentication"):
        told = policy.spec.get("jwtRules")
        for rule in told if isinstance(told, list) else ():
            address = key_set_address(rule) if isinstance(rule, dict) else ""
            if address:
                yield address


def _literal(host: str) -> Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class _Resolver(AbstractResolver):
    """Resolves names to permitted addresses only, so that what was checked is what is connected to."""

    def __init__(self, permitted: Callable[[Address], bool]) -> None:
        self._permitted = permitted
        self._system = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)  # type: ignore[arg-type]
        allowed = [one for one in found if self._permitted(ipaddress.ip_address(one["host"]))]
        if not allowed:
            raise OSError("the name has no address but of this machine or its link")
        return allowed

    async def close(self) -> None:
        await self._system.close()
