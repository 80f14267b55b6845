"""The two variants of an SDS stream as requests in, responses out."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc
from identity_testing.workload import served_secrets

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.bundle import TrustBundle, TrustBundles
from hauberk.identity.certificate import generate_key, make_request
from hauberk.identity.secret_messages import secrets
from hauberk.identity.secret_subscription import (
    MOST_NAMES,
    DeltaSubscription,
    TooManyNamesError,
    WorldSubscription,
)
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.identity.svid import Identity, X509Svid
from hauberk.store.encryption import generate_sealer

DOMAIN = TrustDomain("cluster.local")
WEB = DOMAIN.workload("bank", "web")


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Identity, Identity]:
    """A workload's identity before and after a renewal."""
    folder: Path = tmp_path_factory.mktemp("ca")
    authority = CertificateAuthority.open(
        folder, generate_sealer(), lambda: datetime.now(UTC), trust_domain=DOMAIN
    )

    def issue() -> Identity:
        key = generate_key()
        return Identity(
            X509Svid(WEB, authority.sign_workload(make_request(key), WEB).chain, key), authority.bundles
        )

    return issue(), issue()


def world(*names: str, nonce: str = "") -> discovery_pb2.DiscoveryRequest:
    return discovery_pb2.DiscoveryRequest(resource_names=names, response_nonce=nonce)


def test_state_of_the_world_says_each_state_once(identities: tuple[Identity, Identity]) -> None:
    first, second = identities
    stream = WorldSubscription()
    assert stream.response(first) is None, "nothing was asked for"
    stream.receive(world("default"))
    answer = stream.response(first)
    assert (len(answer.resources), answer.nonce) == (1, "1")
    stream.receive(world("default", nonce="1"))
    assert stream.response(first) is None, "an acknowledgement asks for nothing"
    renewed = stream.response(second)
    assert renewed.version_info != answer.version_info
    stream.receive(world("default", "ROOTCA", nonce="2"))
    assert len(stream.response(second).resources) == 2, "all that is wanted, not what is new alone"


def test_a_change_of_bundles_reaches_only_those_who_want_them(identities: tuple[Identity, Identity]) -> None:
    first, _ = identities
    other = TrustBundle(TrustDomain("other"), first.bundles.own.x509_authorities)
    federated = replace(first, bundles=TrustBundles(first.bundles.own, (other,)))
    streams = {name: WorldSubscription() for name in ("default", "ROOTCA", "ALL")}
    for name, stream in streams.items():
        stream.receive(world(name))
        assert stream.response(first) is not None
    told = {name for name, stream in streams.items() if stream.response(federated) is not None}
    assert told == {"ALL"}


def test_delta_says_what_changed(
    identities: tuple[Identity, Identity], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = identities
    stream = DeltaSubscription()
    stream.receive(
        discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=["default", "ROOTCA", "unknown"])
    )
    answer = stream.response(first)
    assert [each.name for each in answer.resources] == ["ROOTCA", "default"]
    assert list(answer.removed_resources) == ["unknown"]
    assert stream.response(first) is None
    assert [each.name for each in stream.response(second).resources] == ["default"]
    stream.receive(discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=["ROOTCA"]))
    assert [each.name for each in stream.response(second).resources] == ["ROOTCA"], "asked for again"
    stream.receive(discovery_pb2.DeltaDiscoveryRequest(resource_names_unsubscribe=["default"]))
    assert stream.response(first) is None
    refusal = discovery_pb2.DeltaDiscoveryRequest(response_nonce="3")
    refusal.error_detail.message = "no such curve"
    stream.receive(refusal)
    assert "no such curve" in caplog.text


def test_a_delta_stream_goes_on_with_what_the_client_has(identities: tuple[Identity, Identity]) -> None:
    first, second = identities
    before = DeltaSubscription()
    before.receive(discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=["default", "ROOTCA"]))
    has = {each.name: each.version for each in before.response(first).resources}
    after = DeltaSubscription()
    after.receive(
        discovery_pb2.DeltaDiscoveryRequest(
            resource_names_subscribe=["default", "ROOTCA"], initial_resource_versions=has
        )
    )
    assert [each.name for each in after.response(second).resources] == ["default"]


def test_a_version_says_nothing_of_the_key(identities: tuple[Identity, Identity]) -> None:
    assert b"PRIVATE" in secrets(identities[0])["default"].SerializeToString()
    stream = WorldSubscription()
    stream.receive(world())
    answer = stream.response(identities[0])
    assert len(answer.resources) == 3
    assert len(answer.version_info) == 16


def test_a_stream_remembers_no_more_than_it_may(identities: tuple[Identity, Identity]) -> None:
    many = [f"n{number}" for number in range(MOST_NAMES + 1)]
    with pytest.raises(TooManyNamesError, match="1001"):
        WorldSubscription().receive(world(*many))
    with pytest.raises(TooManyNamesError):
        WorldSubscription().receive(world("n" * 5000))
    stream = DeltaSubscription()
    for name in many[:-1]:
        stream.receive(discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=[name]))
    with pytest.raises(TooManyNamesError):
        stream.receive(discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=many[-1:]))
    stream.receive(discovery_pb2.DeltaDiscoveryRequest(resource_names_unsubscribe=many[:1]))
    stream.receive(discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=many[-1:]))
    assert len(stream.response(identities[0]).removed_resources) == MOST_NAMES


def test_of_what_a_client_says_it_has_only_what_it_wants_is_kept(
    identities: tuple[Identity, Identity],
) -> None:
    stream = DeltaSubscription()
    said = {f"n{number}": "1" for number in range(5000)}
    stream.receive(
        discovery_pb2.DeltaDiscoveryRequest(
            resource_names_subscribe=["default", "n1"], initial_resource_versions=said
        )
    )
    assert set(stream._sent) == {"n1"}
    answer = stream.response(identities[0])
    assert list(answer.removed_resources) == ["n1"], "the client has what we do not"
    assert stream.response(identities[0]) is None


async def test_a_stream_that_wants_too_much_is_ended(
    identities: tuple[Identity, Identity], tmp_path: Path
) -> None:
    many = [f"n{number}" for number in range(MOST_NAMES + 1)]
    async with (
        served_secrets(tmp_path / "sds.sock", identities[0], {}),
        grpc.aio.insecure_channel(f"unix:{tmp_path / 'sds.sock'}") as channel,
    ):
        stub = sds_pb2_grpc.SecretDiscoveryServiceStub(channel)
        for call, request in (
            (stub.StreamSecrets(), world(*many)),
            (
                stub.DeltaSecrets(),
                discovery_pb2.DeltaDiscoveryRequest(resource_names_subscribe=many),
            ),
        ):
            await call.write(request)
            assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "1001" in await call.details()
