"""Opens the API: the store under its key, authentication by client certificates and tokens, authorization by roles."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from hauberk.daemon.options import Options
from hauberk.daemon.tasks import background
from hauberk.model import kinds
from hauberk.store.authentication import Authentication
from hauberk.store.authorization import RoleAuthorizer
from hauberk.store.client import Client
from hauberk.store.database import Database, DatabaseError
from hauberk.store.encryption import Sealer, create_key_file, read_key_file
from hauberk.store.garbage import GarbageCollector
from hauberk.store.local_client import LocalClient
from hauberk.store.namespaces import NamespaceLifecycle
from hauberk.store.node_authorization import NodeAuthorizer
from hauberk.store.objects import Objects
from hauberk.store.registry import Registry, resource_name
from hauberk.store.server import ApiServer
from hauberk.store.service_account_tokens import load_token_issuer
from hauberk.store.service_addresses import ServiceAddresses
from hauberk.store.sqlite import SqliteDatabase
from hauberk.store.storage import Storage
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
    """The database of `sqlite:///PATH`.

    Raises:
        DatabaseError: it cannot be opened, or the scheme is not served.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return SqliteDatabase(Path(parts.path))
    raise DatabaseError(f"database {parts.scheme}://…: expected sqlite:///PATH; no other is served")


@asynccontextmanager
async def open_api(options: Options, sealer: Sealer) -> AsyncIterator[Api]:
    """Load the store and keep it until the block ends.

    Raises:
        DatabaseError: the database cannot be opened.
        SealError: a stored secret does not open under the key file.
    """
    database = open_database(options.database)
    registry = Registry.of(kinds.ALL)
    sensitive = frozenset(resource_name(kind) for kind in registry if kind.sensitive)
    async with Storage.open(database, sealer, sensitive.__contains__) as storage:
        objects = Objects(storage, registry, ServiceAddresses(storage, options.service_network))
        authenticator = Authentication((await load_token_issuer(storage),))
        authorizer = NodeAuthorizer(storage, RoleAuthorizer(storage))
        server = ApiServer(storage, registry, objects, authenticator, authorizer)
        async with background() as tasks:
            tasks.start(GarbageCollector(objects).run(), "garbage collector")
            tasks.start(NamespaceLifecycle(objects).run(), "namespaces")
            yield Api(server, LocalClient(objects), authenticator, authorizer)
