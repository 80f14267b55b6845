"""`hauberk-node`: the node agent of one instance."""

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from ipaddress import IPv4Network
from pathlib import Path

import click

from hauberk import binaries
from hauberk.identity.ca_client import CaClient
from hauberk.node.agent import Agent
from hauberk.node.api import Api
from hauberk.node.cleanup import clean_up
from hauberk.node.control_group import ControlGroups
from hauberk.node.credential import superseded
from hauberk.node.envoy_driver import EnvoyProxy
from hauberk.node.events import EventRecorder
from hauberk.node.network import Network
from hauberk.node.network_policies import NetworkPolicies
from hauberk.node.pod_services import IdentityServices, ca_channel
from hauberk.node.pod_setup import Node
from hauberk.node.proxy_driver import HauberkProxy, ProxyDriver, ProxyName
from hauberk.node.record_store import RecordStore
from hauberk.node.sandbox import SandboxDriver
from hauberk.node.settings import DEFAULT_POD_CIDR, Settings
from hauberk.process import start_time
from hauberk.repeated import OnceASecond
from hauberk.store.http_client import HttpClient
from hauberk.store.kubeconfig import KubeconfigError, read_kubeconfig

log = logging.getLogger("hauberk.node")
DRIVERS: dict[ProxyName, Callable[[Path | None], ProxyDriver]] = {
    "hauberk": lambda binary: HauberkProxy(binary or binaries.find("hauberk-proxy")),
    "envoy": lambda binary: EnvoyProxy(binary or binaries.find_envoy()),
}
LONGEST_RUN = 107 - len("/pods/") - 36 - len("/spiffe/workload.sock")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--name", required=True, help="Name of this node in the API.")
@click.option("--instance", default="default", show_default=True, help="Instance on this machine.")
@click.option(
    "--state", type=click.Path(path_type=Path), help="State folder.  [default: /var/lib/hauberk/INSTANCE]"
)
@click.option("--run", type=click.Path(path_type=Path), help="Run folder.  [default: /run/hauberk/INSTANCE]")
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="The node's credential for the API and the CA."
)
@click.option("--grpc", "grpc_address", metavar="HOST:PORT", help="gRPC port of the control plane.")
@click.option("--pod-cidr", default=str(DEFAULT_POD_CIDR), show_default=True, help="Addresses of pods.")
@click.option("--trust-domain", default="cluster.local", show_default=True, help="SPIFFE trust domain.")
@click.option(
    "--lease-seconds",
    type=click.IntRange(1),
    default=40,
    show_default=True,
    show_envvar=True,
    envvar="HAUBERK_NODE_LEASE_SECONDS",
    help="Silence after which the node counts as not ready.",
)
@click.option(
    "--sandbox", type=click.Path(path_type=Path), help="`hauberk-sandbox`, if not beside this program."
)
@click.option(
    "--proxy",
    type=click.Choice(list(DRIVERS)),
    default="hauberk",
    show_default=True,
    help="Kind of the pods' proxies.",
)
@click.option(
    "--proxy-binary", type=click.Path(path_type=Path), help="The proxy's program, if not the installed one."
)
@click.option("--cleanup", is_flag=True, help="Remove everything of this instance's node, and end.")
@click.option("--verbose", is_flag=True, help="Log more.")
def main(
    name: str, instance: str, state: Path | None, run: Path | None, kubeconfig: Path | None,
    grpc_address: str | None, pod_cidr: str, trust_domain: str, lease_seconds: int,
    sandbox: Path | None, proxy: ProxyName, proxy_binary: Path | None, cleanup: bool, verbose: bool,
) -> None:  # fmt: skip
    """Run the pods that are bound to this node. Ends on SIGTERM or SIGINT; the pods go on."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("asyncio").addFilter(OnceASecond())
    try:
        network = IPv4Network(pod_cidr)
    except ValueError as error:
        raise click.BadParameter(
            f"expected an IPv4 network as 10.66.0.0/16, found {pod_cidr!r}: {error}"
        ) from error
    settings = Settings(
        name=name,
        instance=instance,
        state=state or Path("/var/lib/hauberk") / instance,
        run=run or Path("/run/hauberk") / instance,
        kubeconfig=kubeconfig or Path(),
        grpc=grpc_address or "",
        pod_cidr=network,
        trust_domain=trust_domain,
        lease_seconds=lease_seconds,
    )
    if (length := len(str(settings.run.absolute()))) > LONGEST_RUN:
        raise click.BadParameter(
            f"--run: expected a path of at most {LONGEST_RUN} characters (a socket's path has 107), found {length}"
        )
    if os.geteuid() != 0:
        raise click.ClickException("expected to run as root: network namespaces need it; use sudo")
    try:
        launcher = sandbox or binaries.find("hauberk-sandbox")
        driver = SandboxDriver(launcher)
        if cleanup:
            asyncio.run(clean_up(settings, driver))
            return
        if kubeconfig is None or grpc_address is None:
            raise click.UsageError("--kubeconfig and --grpc are needed to run pods")
        again = asyncio.run(_serve(settings, driver, launcher, DRIVERS[proxy](proxy_binary)))
    except (KubeconfigError, binaries.BinaryNotFoundError) as error:
        raise click.ClickException(str(error)) from error
    if again:
        os.execv(sys.executable, [sys.executable, "-m", "hauberk.node", *sys.argv[1:]])  # noqa: S606


async def _serve(settings: Settings, driver: SandboxDriver, launcher: Path, proxy: ProxyDriver) -> bool:
    """Until it is told to end, or must start anew with another credential: whether that is so."""
    connection = read_kubeconfig(settings.kubeconfig)
    for folder, mode in (
        (settings.state, 0o711),
        (settings.node_state, 0o711),
        (settings.run / "pods", 0o711),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    roots = connection.certificate_authority
    channel = ca_channel(settings.grpc, roots, connection.client_certificate, connection.client_key)
    ca = CaClient(channel)
    async with HttpClient(connection) as client, RecordStore(settings) as records:
        network = Network(settings.instance, settings.host_address)
        node = Node(
            settings=settings,
            client=client,
            network=network,
            driver=driver,
            events=EventRecorder(client, settings.name),
            services=lambda record, pod: IdentityServices(settings, ca, roots, record, pod),
            control_groups=ControlGroups(settings.instance),
            launcher=launcher,
            proxy=proxy,
            policies=NetworkPolicies(client, network),
        )
        api = Api(node, records, roots)
        agent = api.agent = Agent(node, api.port)
        records.names = agent.names
        work = asyncio.create_task(_work(agent, ca, records, node, api))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        renewal = asyncio.create_task(superseded(settings.kubeconfig, connection))
        renewal.add_done_callback(lambda _: work.cancel())
        try:
            await work
        except asyncio.CancelledError:
            log.info("ending; pods go on")
        finally:
            renewed = renewal.done()
            renewal.cancel()
            await api.close()
            await channel.close()
            (settings.run / "node.json").unlink(missing_ok=True)
    if not renewed:
        return False
    renewal.result()
    log.info("starting anew with a new credential")
    return True


async def _work(agent: Agent, ca: CaClient, records: RecordStore, node: Node, api: Api) -> None:
    settings = node.settings
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(agent.run(ready))
        group.create_task(ca.run())
        group.create_task(records.run())
        group.create_task(api.run())
        await ready.wait()
        await api.certificate.ready.wait()
        said = {
            "pid": os.getpid(),
            "started": start_time(os.getpid()),
            "kubelet": f"https://127.0.0.1:{api.port}",
            "proxy": node.proxy.name,
        }
        temporary = settings.run / "node.json~"
        temporary.write_text(json.dumps(said))
        temporary.rename(settings.run / "node.json")
        log.info("node %s is ready, kubelet API on port %d", settings.name, api.port)


if __name__ == "__main__":
    main()
