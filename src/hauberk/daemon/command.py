"""`hauberkd`'s command line."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any

import click

from hauberk.daemon.api import open_api, open_key_file
from hauberk.daemon.lock import AlreadyRunningError, instance_lock
from hauberk.daemon.log import log_to_stderr
from hauberk.daemon.options import (
    Options,
    check_apart,
    check_key_file,
    parse_database,
    parse_listen,
    parse_network,
    parse_node_name,
)
from hauberk.daemon.serve import prepare_folders, serve
from hauberk.identity.authority import AuthorityError, CertificateAuthority
from hauberk.identity.spiffe_id import TrustDomain
from hauberk.store.client import ApiError
from hauberk.store.database import DatabaseError
from hauberk.store.encryption import Sealer, SealError

log = logging.getLogger("hauberkd")

EXAMPLES = """
\b
Examples:
  hauberkd --instance default --state /var/lib/hauberk/default \\
    --run /run/hauberk/default --key-file /etc/hauberk/default.key
  hauberkd --instance try --state ./state --run ./run --key-file ./try.key \\
    --node one --api-listen 127.0.0.1:6443
  kubectl --kubeconfig ./state/admin.kubeconfig get nodes

Exit codes: 0 stopped by a signal, 1 could not start or go on, 2 wrong command line.
"""


@click.command(name="hauberkd", epilog=EXAMPLES, context_settings={"max_content_width": 100})
@click.option("--instance", default="default", show_default=True, help="Name of the instance.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="Folder of what must outlive the machine's boots."
)
@click.option("--run", type=click.Path(path_type=Path), help="Folder of what a boot may forget.")
@click.option(
    "--key-file", type=click.Path(path_type=Path), help="Key that encrypts secrets; made if absent."
)
@click.option(
    "--database", default="", help="sqlite:///PATH or postgresql://…; by default SQLite in --state."
)
@click.option(
    "--api-listen", default="127.0.0.1:0", show_default=True, help="Where the Kubernetes API listens."
)
@click.option("--grpc-listen", default="127.0.0.1:0", show_default=True, help="Where ADS and the CA listen.")
@click.option("--trust-domain", default="cluster.local", show_default=True, help="SPIFFE trust domain.")
@click.option("--service-cidr", default="10.96.0.0/16", show_default=True, help="Addresses of Services.")
@click.option("--pod-cidr", default="10.66.0.0/16", show_default=True, help="Addresses of pods.")
@click.option("--node", default="", help="Name of the local node: writes STATE/node/NAME.kubeconfig.")
def hauberkd(**given: Any) -> None:
    """Hauberk's control plane: the Kubernetes API, its controllers, the CA and xDS."""
    try:
        options = _options(**given)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    log_to_stderr()
    sys.exit(run(options))


def _options(
    *,
    instance: str,
    state: Path | None,
    run: Path | None,
    key_file: Path | None,
    database: str,
    api_listen: str,
    grpc_listen: str,
    trust_domain: str,
    service_cidr: str,
    pod_cidr: str,
    node: str,
) -> Options:
    services, pods = parse_network(service_cidr), parse_network(pod_cidr)
    check_apart(services, pods)
    state = (state or Path("/var/lib/hauberk") / instance).absolute()
    return Options(
        instance=instance,
        state=state,
        run=(run or Path("/run/hauberk") / instance).absolute(),
        key_file=check_key_file((key_file or Path("/etc/hauberk") / f"{instance}.key").absolute(), state),
        database=parse_database(database, state),
        api_listen=parse_listen(api_listen),
        grpc_listen=parse_listen(grpc_listen),
        trust_domain=trust_domain,
        service_network=services,
        pod_network=pods,
        node=parse_node_name(node),
    )


def run(options: Options) -> int:
    """Serve until a signal; the exit code."""
    code = 0
    try:
        prepare_folders(options)
        with instance_lock(options.state):
            sealer = open_key_file(options.key_file)
            domain = TrustDomain(options.trust_domain)
            authority = CertificateAuthority.open(options.state, sealer, trust_domain=domain)
            asyncio.run(_until_signal(options, sealer, authority))
    except* (
        AlreadyRunningError,
        AuthorityError,
        SealError,
        DatabaseError,
        ApiError,
        OSError,
        RuntimeError,
        ValueError,
    ) as errors:
        for error in _leaves(errors):
            log.error("%s", error or type(error).__name__, exc_info=None if _is_expected(error) else error)
        code = 1
    return code


async def _until_signal(options: Options, sealer: Sealer, authority: CertificateAuthority) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with open_api(options, sealer) as api:
        _tell_old_keys(options.key_file, sealer, authority)
        await serve(options, api, authority, stop)


def _tell_old_keys(key_file: Path, sealer: Sealer, authority: CertificateAuthority) -> None:
    """Store and CA are under the newest key by now: says what the others are still good for."""
    if not (old := [each.decode(errors="replace") for each in sealer.keys if each != sealer.newest]):
        return
    if absent := authority.absent_root_keys:
        log.warning(
            "%s: a root key that is not at %s may still be under one of the old keys %s: keep their lines",
            key_file, ", ".join(map(str, absent)), ", ".join(old),
        )  # fmt: skip
    else:
        log.info(
            "%s: nothing of this instance is under the old keys %s any more: drop their lines; "
            "older backups need them",
            key_file, ", ".join(old),
        )  # fmt: skip


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def _is_expected(error: BaseException) -> bool:
    """Whether the message alone says enough: a cause outside of this program."""
    return not isinstance(error, RuntimeError | ValueError) or isinstance(error, SealError)
