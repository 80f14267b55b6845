"""The life of objects over the wire."""

import asyncio
import contextlib
from typing import Any

import pytest

from hauberk import ipv6
from hauberk.model.kinds import CONFIG_MAP, JOB, NAMESPACE, SERVICE
from hauberk.store.client import ApiError, Event
from hauberk.store.http_client import HttpClient
from hauberk.store.informer import Informer


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "bank", "labels": {"app": "web"}}, "data": data}


@pytest.fixture
async def bank(client: HttpClient) -> HttpClient:
    await client.create(NAMESPACE, {"metadata": {"name": "bank"}})
    return client


async def test_create_read_update_delete(bank: HttpClient) -> None:
    created = await bank.create(CONFIG_MAP, config_map("a", x="1"))
    assert created["metadata"]["uid"]
    assert created["metadata"]["resourceVersion"]
    assert await bank.get(CONFIG_MAP, "bank", "a") == created
    created["data"]["x"] = "2"
    updated = await bank.update(CONFIG_MAP, created)
    assert updated["data"] == {"x": "2"}
    with pytest.raises(ApiError) as stale:
        await bank.update(CONFIG_MAP, created | {"data": {}})
    assert (stale.value.code, stale.value.reason) == (409, "Conflict")
    await bank.delete(CONFIG_MAP, "bank", "a")
    with pytest.raises(ApiError) as absent:
        await bank.get(CONFIG_MAP, "bank", "a")
    assert absent.value.message == 'configmaps "a" not found'


async def test_a_namespace_must_exist(client: HttpClient) -> None:
    with pytest.raises(ApiError) as absent:
        await client.create(CONFIG_MAP, config_map("a"))
    assert absent.value.message == 'namespaces "bank" not found'


async def test_pages_are_of_one_moment(bank: HttpClient) -> None:
    for name in "abcde":
        await bank.create(CONFIG_MAP, config_map(name))
    page = await bank.list(CONFIG_MAP, "bank", limit=2)
    await bank.delete(CONFIG_MAP, "bank", "c")
    await bank.create(CONFIG_MAP, config_map("cc"))
    names = [item["metadata"]["name"] for item in page.items]
    while page.continue_token:
        page = await bank.list(CONFIG_MAP, "bank", limit=2, continue_token=page.continue_token)
        names += [item["metadata"]["name"] for item in page.items]
    assert names == list("abcde")


async def test_an_informer_follows(bank: HttpClient) -> None:
    await bank.create(CONFIG_MAP, config_map("a", x="1"))
    informer = Informer(bank, CONFIG_MAP, "bank", label_selector="app=web")
    seen: asyncio.Queue[Event] = asyncio.Queue()
    informer.subscribe(seen.put_nowait)
    running = asyncio.create_task(informer.run())
    try:
        async with asyncio.timeout(10):
            await informer.synced.wait()
            assert (await seen.get()).type == "ADDED"
            await bank.patch(CONFIG_MAP, "bank", "a", {"data": {"x": "2"}})
            assert (await seen.get()).type == "MODIFIED"
            assert informer.cache["bank", "a"]["data"] == {"x": "2"}
            await bank.patch(CONFIG_MAP, "bank", "a", {"metadata": {"labels": {"app": "other"}}})
            assert (await seen.get()).type == "DELETED"
            assert not informer.cache
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def test_services_have_addresses_of_their_own(bank: HttpClient) -> None:
    def service(name: str, **spec: Any) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "namespace": "bank"},
            "spec": {"ports": [{"port": 80}], **spec},
        }

    first = await bank.create(SERVICE, service("a"))
    address = first["spec"]["clusterIP"]
    assert address.startswith("10.96.")
    with pytest.raises(ApiError, match="already allocated"):
        await bank.create(SERVICE, service("b", clusterIP=address))
    with pytest.raises(ApiError, match="cannot be changed"):
        await bank.patch(SERVICE, "bank", "a", {"spec": {"clusterIP": "10.96.1.1"}})
    await bank.delete(SERVICE, "bank", "a")
    again = await bank.create(SERVICE, service("b", clusterIP=address))
    assert again["spec"]["clusterIPs"] == [address]


@pytest.mark.skipif(not ipv6.available(), reason="this machine has no IPv6")
async def test_a_service_has_an_address_of_each_of_its_families(bank: HttpClient) -> None:
    async def made(name: str, **spec: Any) -> tuple[str, list[str], str]:
        obj = {"metadata": {"name": name, "namespace": "bank"}, "spec": {"ports": [{"port": 80}], **spec}}
        found = (await bank.create(SERVICE, obj))["spec"]
        versions = "".join("6" if ":" in each else "4" for each in found["clusterIPs"] if each != "None")
        return versions, found["ipFamilies"], found["ipFamilyPolicy"]

    assert await made("one") == ("4", ["IPv4"], "SingleStack")
    assert await made("six", ipFamilies=["IPv6"]) == ("6", ["IPv6"], "SingleStack")
    assert await made("prefers", ipFamilyPolicy="PreferDualStack") == (
        "46",
        ["IPv4", "IPv6"],
        "PreferDualStack",
    )
    both = ["IPv6", "IPv4"]
    assert await made("both", ipFamilies=both) == ("64", both, "RequireDualStack")
    assert await made("none", clusterIP="None", ipFamilies=both) == ("", both, "RequireDualStack")
    assert await made("asks", clusterIP="fd48:6175:6265:726b:2::7") == ("6", ["IPv6"], "SingleStack")
    for spec, error in (
        ({"clusterIP": "fd48:6175:6265:726b:2:0:0:7"}, "already allocated"),
        ({"clusterIP": "2001:db8::1"}, "valid range"),
        ({"clusterIPs": ["10.96.200.1", "10.96.200.2"]}, "at most one IPv4"),
        ({"clusterIP": "10.96.200.1", "ipFamilies": ["IPv6"]}, "expected an address of IPv6"),
        ({"ipFamilies": ["IPv4", "IPv4"]}, "each family once"),
        ({"ipFamilies": both, "ipFamilyPolicy": "SingleStack"}, "one family"),
    ):
        with pytest.raises(ApiError, match=error):
            await made("refused", **spec)


@pytest.mark.skipif(not ipv6.available(), reason="this machine has no IPv6")
async def test_the_second_address_of_a_service_comes_and_goes_and_the_first_stays(bank: HttpClient) -> None:
    obj = {"metadata": {"name": "a", "namespace": "bank"}, "spec": {"ports": [{"port": 80}]}}
    first = (await bank.create(SERVICE, obj))["spec"]["clusterIP"]
    wider = {"spec": {"ipFamilyPolicy": "RequireDualStack"}}
    four, six = (await bank.patch(SERVICE, "bank", "a", wider))["spec"]["clusterIPs"]
    assert four == first and ":" in six
    kept = (await bank.patch(SERVICE, "bank", "a", {"spec": {"ports": [{"port": 81}]}}))["spec"]
    assert kept["clusterIPs"] == [four, six]
    with pytest.raises(ApiError, match="immutable"):
        await bank.patch(SERVICE, "bank", "a", {"spec": {"ipFamilies": ["IPv6"], "clusterIPs": None}})
    narrower = {"spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv4"], "clusterIPs": [four]}}
    narrow = (await bank.patch(SERVICE, "bank", "a", narrower))["spec"]
    assert (narrow["clusterIPs"], narrow["ipFamilies"]) == ([four], ["IPv4"])
    again = {
        "metadata": {"name": "b", "namespace": "bank"},
        "spec": {"ports": [{"port": 80}], "clusterIP": six},
    }
    assert (await bank.create(SERVICE, again))["spec"]["clusterIP"] == six, "it was given back"


def job(name: str, **spec: Any) -> dict[str, Any]:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "host", "command": ["/bin/true"]}]}
    template = {"metadata": {"labels": {"app": "pay"}}, "spec": pod}
    return {"metadata": {"name": name, "namespace": "bank"}, "spec": {"template": template} | spec}


async def test_a_job_selects_its_own_pods_by_its_uid(bank: HttpClient) -> None:
    made = await bank.create(JOB, job("pay"))
    uid = made["metadata"]["uid"]
    assert made["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert made["spec"]["template"]["metadata"]["labels"] == {
        "app": "pay",
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": "pay",
        "controller-uid": uid,
        "job-name": "pay",
    }
    made["spec"]["selector"]["matchLabels"] = {"app": "other"}
    with pytest.raises(ApiError) as refused:
        await bank.update(JOB, made)
    assert refused.value.code == 422
    assert "spec.selector" in refused.value.message


async def test_a_job_with_a_selector_of_the_users_own_keeps_it(bank: HttpClient) -> None:
    selector = {"matchLabels": {"app": "pay"}}
    made = await bank.create(JOB, job("pay", manualSelector=True, selector=selector))
    assert made["spec"]["selector"] == selector
    assert made["spec"]["template"]["metadata"]["labels"] == {"app": "pay"}
