"""Removing all that an instance's node has on this machine: pods, proxies, namespaces, links, sockets."""

import asyncio
import os
import shutil
import signal
from pathlib import Path

from hauberk.node import pod_record
from hauberk.node.control_group import ControlGroups
from hauberk.node.driver import Driver
from hauberk.node.network import Network
from hauberk.node.proxy import pid_file
from hauberk.node.settings import Settings
from hauberk.process import identified

GRACE_SECONDS = 3.0
ENDING_SECONDS = 5.0


async def clean_up(settings: Settings, driver: Driver) -> None:
    """Leaves the state folder's volumes and logs; everything else of the node goes. Nothing left is no error."""
    records = pod_record.load(settings)
    folders = [folder for uid in records for folder in settings.pod_state(uid).glob("containers/*/*")]
    await _stop(driver, folders)
    for run in (settings.run / "pods").glob("*"):
        _kill(pid_file(run))
    await Network(settings.instance, settings.host_address).remove()
    ControlGroups(settings.instance).remove()
    shutil.rmtree(settings.run / "pods", ignore_errors=True)
    (settings.run / "node.json").unlink(missing_ok=True)


async def _stop(driver: Driver, folders: list[Path]) -> None:
    """Asks every program to end, and ends those that do not within their time."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, ENDING_SECONDS)):
        for folder in folders:
            await driver.signal(folder, number)
        try:
            async with asyncio.timeout(seconds):
                for folder in folders:
                    await driver.wait(folder)
            return
        except TimeoutError:
            if number == signal.SIGKILL:
                raise


def _kill(file: Path) -> None:
    pid = identified(file)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
