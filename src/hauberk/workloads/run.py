"""Runs the controllers: informers wake queues, workers decide and carry out."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from hauberk import fault
from hauberk.model import kinds
from hauberk.model.kind import Kind, Object
from hauberk.store.client import ApiError, Client
from hauberk.store.database import DatabaseError
from hauberk.store.informer import Informer
from hauberk.workloads.action import Emit, Key
from hauberk.workloads.controllers import KINDS, Controller, every
from hauberk.workloads.execute import Executor
from hauberk.workloads.queue import WorkQueue
from hauberk.workloads.view import View

WORKERS = 4
"""Keys that one controller works on at a time."""

log = logging.getLogger(__name__)


def kind_named(group: str, name: str) -> Kind:
    """A built-in kind that must be there."""
    found = kinds.find(name, group)
    if found is None:
        raise LookupError(f"{group}/{name}: expected a built-in kind, found none")
    return found


async def run_controllers(
    client: Client,
    root_certificates: Callable[[], str],
    *,
    informers: Iterable[Informer] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Run every controller until cancelled.

    `informers` that run already are shared; for the kinds that they do not cover, new ones are started.
    """
    watched = {name: kind_named(group, name) for group, name in KINDS}
    shared = {(i.kind.group, i.kind.name): i for i in informers}
    by_name = {
        name: shared.get((kind.group, name)) or Informer(client, kind) for name, kind in watched.items()
    }
    view = View(by_name)
    async with asyncio.TaskGroup() as tasks:
        for name, informer in by_name.items():
            if (watched[name].group, name) not in shared:
                tasks.create_task(informer.run(), name=f"informer {name}")
        runners = [Runner(controller, client, view, now) for controller in every(root_certificates)]
        await view.synced()
        for runner in runners:
            tasks.create_task(runner.run(), name=runner.controller.name)


class Runner:
    """One controller with its queue and workers."""

    def __init__(
        self, controller: Controller, client: Client, view: View, now: Callable[[], datetime]
    ) -> None:
        self.controller = controller
        self.queue = WorkQueue()
        self._view = view
        self._now = now
        self._failures: dict[Key, str] = {}
        served = {name: kind_named(group, name) for group, name in (*KINDS, ("", "Event"))}
        self._executor = Executor(client, served, view, controller.name, now)
        view.listen(self._wake)

    async def run(self) -> None:
        for kind in (name for _, name in KINDS):
            for obj in self._view.all(kind):
                self._wake(kind, obj)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(WORKERS):
                tasks.create_task(self._work())

    def _wake(self, kind: str, obj: Object) -> None:
        try:
            for key in self.controller.keys(self._view, kind, obj):
                self.queue.add(key)
        except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
            meta = obj["metadata"]
            name = "/".join(filter(None, (kind, meta.get("namespace"), meta["name"])))
            log.error("%s: woken by %s: fault: %s", self.controller.name, name, fault.described(error))

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            try:
                await self.look(key)
            finally:
                self.queue.done(key)

    async def look(self, key: Key) -> None:
        """Decide and do once; a failure is put off, not raised."""
        try:
            actions = self.controller.decide(self._view, key, self._failures.get(key, ""), self._now())
            again = await self._executor.run(actions)
        except (ApiError, DatabaseError, OSError) as error:
            self._put_off(key, error, str(error) or type(error).__name__)
            if isinstance(error, ApiError) and error.code in (400, 403, 422):
                await self._say(key, error.message)
            return
        except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
            self._put_off(key, error, f"fault: {fault.described(error)}")
            return
        self.queue.succeeded(key)
        self._failures.pop(key, None)
        if again is not None:
            self.queue.add_after(key, again)

    def _put_off(self, key: Key, error: Exception, said: str) -> None:
        conflict = isinstance(error, ApiError) and error.code == 409 and error.reason == "Conflict"
        seconds = self.queue.failed(key)
        if conflict:
            return  # what we saw was old: the watch brings the new
        name = "/".join(part for part in key if part)
        log.warning("%s: %s: %s; again in %.1f s", self.controller.name, name, said, seconds)

    async def _say(self, key: Key, refusal: str) -> None:
        """What the API refuses is for the user to mend: said in the object's status and in an event."""
        self._failures[key] = refusal
        if (obj := self._view.get(self.controller.kind, *key)) is not None:
            try:
                await self._executor.run([Emit(obj, "Warning", "FailedCreate", refusal)])
            except (ApiError, OSError):
                return  # the refusal is in the log already
            except Exception as error:  # noqa: BLE001 - docs/decisions/0006: one object does not end the daemon
                name = "/".join(filter(None, key))
                log.error("%s: event of %s: fault: %s", self.controller.name, name, fault.described(error))
