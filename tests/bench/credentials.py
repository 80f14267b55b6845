"""An authority for a measurement, and workloads' certificates of it as files that any TLS library reads."""

from pathlib import Path

from hauberk.identity.authority import CertificateAuthority
from hauberk.identity.certificate import generate_key, make_request
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.identity.svid import X509Svid
from hauberk.store.encryption import generate_sealer

DOMAIN = TrustDomain("cluster.local")


def authority(state: Path) -> CertificateAuthority:
    """A new one, with a root and an intermediate as in an instance."""
    return CertificateAuthority.open(state, generate_sealer(), trust_domain=DOMAIN)


def write(source: CertificateAuthority, namespace: str, account: str, folder: Path) -> None:
    """`ACCOUNT.pem` (leaf and intermediate), `ACCOUNT.key` and the roots in `ca.pem`; the last is there last."""
    identity, key = DOMAIN.workload(namespace, account), generate_key()
    svid = X509Svid(identity, source.sign_workload(make_request(key), identity).chain, key)
    put(folder / f"{account}.pem", svid.chain_pem)
    put(folder / f"{account}.key", svid.key_pem())
    put(folder / "ca.pem", source.bundles.own.pem)


def put(file: Path, content: bytes) -> None:
    """Whole or not at all: another process waits for it."""
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    unfinished.replace(file)
