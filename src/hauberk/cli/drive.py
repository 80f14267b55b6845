"""Drives a tour's requests through the gateway, as a visitor from outside would."""

import asyncio

import aiohttp

from hauberk.cli.errors import CommandError
from hauberk.cli.tour import Drive, Outcome
from hauberk.model import kinds
from hauberk.store.http_client import HttpClient

PATIENCE_SECONDS = 10
AT_ONCE = 4


async def gateway_address(client: HttpClient, reference: str) -> str:
    """`http://ADDRESS:PORT` of a ready pod behind the gateway's Service NAMESPACE/NAME.

    Raises:
        CommandError: there is none.
    """
    namespace, _, name = reference.partition("/")
    service = await client.get(kinds.SERVICE, namespace, name)
    selector = ",".join(f"{key}={value}" for key, value in service["spec"].get("selector", {}).items())
    target = service["spec"]["ports"][0].get("targetPort") or service["spec"]["ports"][0]["port"]
    for pod in (await client.list(kinds.POD, namespace, label_selector=selector)).items:
        if address := pod.get("status", {}).get("podIP"):
            return f"http://{address}:{target}"
    raise CommandError(
        f"gateway {reference}: expected a running pod, found none", f"hauberk get pods -n {namespace}"
    )


async def drive(address: str, what: Drive) -> Outcome:
    """Sends the requests of one `Drive`, a few at once, and counts those answered as expected."""
    gate = asyncio.Semaphore(AT_ONCE)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def once() -> str:
            async with gate:
                try:
                    async with session.request(
                        what.method, address + what.path, headers={"Host": what.host}, json=what.json
                    ) as answer:
                        text = await answer.text()
                except (aiohttp.ClientError, TimeoutError) as error:
                    return f"no answer: {error or type(error).__name__}"
                if answer.status == what.expect:
                    return ""
                return f"expected {what.expect}, found {answer.status}: {text.strip()[:200]}"

        answers = await asyncio.gather(*(once() for _ in range(what.repeat)))
    surprises = [answer for answer in answers if answer]
    return Outcome(what, len(answers) - len(surprises), surprises[0] if surprises else "")
