"""Trust bundles of other trust domains: files that a person puts into `STATE/federation`, followed while we run."""

import asyncio
import logging
from pathlib import Path

from hauberk.identity.authority import AuthorityError, CertificateAuthority
from hauberk.identity.bundle import InvalidBundleError, TrustBundle
from hauberk.identity.spiffe_id import InvalidSpiffeIdError, TrustDomain

FOLDER = "federation"
LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


class Federation:
    """`DOMAIN.json` is the SPIFFE bundle document of DOMAIN, as its own `STATE/ca/bundle.json` has it.

    A file that goes takes its trust with it; one that cannot be read changes nothing.
    """

    def __init__(self, folder: Path, authority: CertificateAuthority) -> None:
        self._folder = folder
        self._authority = authority
        self._seen: frozenset[tuple[str, int, int]] | None = None

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Trust what the files say now."""
        try:
            files = sorted(self._folder.glob("*.json"))
            seen = frozenset((each.name, each.stat().st_mtime_ns, each.stat().st_size) for each in files)
        except OSError as error:
            log.error("%s: %s; trust in other domains stays as it was", self._folder, error)
            return
        if seen == self._seen:
            return
        self._seen = seen
        for path in files:
            self._trust(path)
        named = {path.stem for path in files}
        for bundle in self._authority.bundles.federated:
            if str(bundle.trust_domain) not in named:
                self._authority.unfederate(bundle.trust_domain)
                log.info("trust domain %s is not trusted any more", bundle.trust_domain)

    def _trust(self, path: Path) -> None:
        try:
            bundle = TrustBundle.parse(TrustDomain(path.stem), path.read_bytes())
            if bundle == self._authority.bundles.of(bundle.trust_domain):
                return
            self._authority.federate(bundle)
        except (OSError, InvalidSpiffeIdError, InvalidBundleError, AuthorityError) as error:
            log.error(
                "%s: %s; expected the SPIFFE bundle document of the domain it is named after", path, error
            )
            return
        log.info(
            "trust domain %s: %d X.509 and %d JWT authorities",
            bundle.trust_domain,
            len(bundle.x509_authorities),
            len(bundle.jwt_authorities),
        )
