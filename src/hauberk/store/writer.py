"""Group commit: transactions that arrive while one batch is being flushed share the next flush."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hauberk.store.database import Database, DatabaseError, Outcome, Transaction

BATCH = 512
"""Most transactions in one database transaction; bounds how long one caller waits for others."""

T = TypeVar("T")


class Writer:
    """The one way to the database: a single thread, fed in batches.

    `published` is awaited with the outcomes of a batch before any of its callers hears of it, so that
    whoever is acknowledged a write also reads it.
    """

    def __init__(
        self,
        database: Database,
        published: Callable[[list[Transaction], list[Outcome]], Coroutine[Any, Any, None]],
    ) -> None:
        self._database = database
        self._published = published
        self._pending: list[tuple[Transaction, asyncio.Future[Outcome]]] = []
        self._wanted = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a database call on the writer's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def commit(self, transaction: Transaction) -> Outcome:
        """Commit, and return when it is on disk. Raises `DatabaseError`."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._pending.append((transaction, future))
        self._wanted.set()
        # A caller that goes away does not take back what may be written already.
        return await asyncio.shield(future)

    async def run(self) -> None:
        """Commit batches until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                batch, self._pending = self._pending[:BATCH], self._pending[BATCH:]
                if not self._pending:
                    self._wanted.clear()
                if batch:
                    await self._commit(batch)
        finally:
            for _, future in self._pending:
                if not future.done():
                    future.set_exception(DatabaseError("the store is shutting down"))
                    future.exception()

    async def _commit(self, batch: list[tuple[Transaction, asyncio.Future[Outcome]]]) -> None:
        transactions = [transaction for transaction, _ in batch]
        try:
            outcomes = await self.call(self._database.commit, transactions)
            await self._published(transactions, outcomes)
        except DatabaseError as error:
            for _, future in batch:
                future.set_exception(DatabaseError(str(error)))
                future.exception()  # retrieved here, so that a caller gone away is no warning
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            future.set_result(outcome)

    def close(self) -> None:
        self._thread.shutdown(wait=True)
