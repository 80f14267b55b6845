"""Opens the API: the store under its key, authentication by client certificates and tokens, authorization by roles."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from hauberk.daemon.gateway_api_status import gateway_classes
from hauberk.daemon.options import Options
from hauberk.daemon.requestor import node_role, stamp_requestor
from hauberk.daemon.tasks import background
from hauberk.identity.certificate import API, authority_common_name
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.authorization import RoleAuthorizer
from hauberk.store.bootstrap import bootstrap
from hauberk.store.client import ApiError, Client
from hauberk.store.database import Database
from hauberk.store.encryption import Sealer, create_key_file, read_key_file
from hauberk.store.local_client import LocalClient
from hauberk.store.node_authorization import NodeAuthorizer
from hauberk.store.postgresql import PostgresqlDatabase
from hauberk.store.server import ApiServer
from hauberk.store.sqlite import SqliteDatabase
from hauberk.store.user import Authenticator, Authorizer


@dataclass(frozen=True, slots=True)
class Api:
    """The API and those who guard it."""

    server: ApiServer
    client: Client
    authenticator: Authenticator
    authorizer: Authorizer

    def app(self) -> web.Application:
        return self.server.app()


def open_key_file(path: Path) -> Sealer:
    """The key file, made at the first start.

    Raises:
        SealError: it cannot be read or made; the message says why.
    """
    return read_key_file(path) if path.exists() else create_key_file(path)


def open_database(url: str) -> Database:
    """The database of `sqlite:///PATH` or `postgresql://…`.

    Raises:
        DatabaseError: it cannot be opened.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return SqliteDatabase(Path(parts.path))
    return PostgresqlDatabase(url)


@asynccontextmanager
async def open_api(options: Options, sealer: Sealer) -> AsyncIterator[Api]:
    """Load the store, make what every API begins with, and keep it until the block ends.

    Raises:
        ApiError: the first objects cannot be made.
        DatabaseError: the database cannot be opened.
        SealError: a stored secret does not open under the key file.
    """
    database = open_database(options.database)
    network = str(options.service_network)
    async with ApiServer.open(
        database,
        kinds.ALL,
        sealer=sealer,
        rules=(stamp_requestor,),
        service_cidr=network,
        client_issuer=authority_common_name(API),
    ) as server:
        await bootstrap(server.objects)
        client = LocalClient(server.objects)
        await _allow_node_certificates(client)
        await _make(client, kinds.GATEWAY_CLASS, gateway_classes())
        authorizer = NodeAuthorizer(server.storage, RoleAuthorizer(server.storage))
        async with background() as tasks:
            tasks.start(server.run(), "garbage and namespaces")
            yield Api(server, client, server.authenticator, authorizer)


async def _allow_node_certificates(client: Client) -> None:
    for obj in node_role():
        kind = kinds.CLUSTER_ROLE if obj["kind"] == "ClusterRole" else kinds.CLUSTER_ROLE_BINDING
        await _make(client, kind, [obj])


async def _make(client: Client, kind: Kind, objects: Iterable[Object]) -> None:
    """Make what is not there yet; what is stays as it is."""
    for obj in objects:
        try:
            await client.create(kind, obj)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
