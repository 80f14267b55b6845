"""Writes to a store in one process after another, each killed by SIGKILL at a random instant, and checks the store.

Run as a program: `LOCATION ROUNDS`. It forks its writers, so that each starts at once.
"""

import os
import random
import signal
import sys
import time

from hauberk.store.database import Key, Put, open_database

BATCH = 3


def write(location: str, number: int, told: int) -> None:
    """Commit batches without end, telling after each how many objects there are."""
    database = open_database(location)
    while True:
        database.commit([[Put(Key("r", "", f"{number + i:09}"), b"x" * 300, 0)] for i in range(BATCH)])
        number += BATCH
        os.write(told, f"{number}\n".encode())


def round_of(location: str, acknowledged: int, chance: random.Random) -> int:
    """One writer's life; how many objects were acknowledged at its end."""
    hear, tell = os.pipe()
    writer = os.fork()
    if writer == 0:
        os.close(hear)
        write(location, acknowledged, tell)
    os.close(tell)
    with os.fdopen(hear, "rb", buffering=0) as heard:
        text = heard.read(64)  # the first acknowledgement: it is at work
        time.sleep(chance.uniform(0, 0.01))
        os.kill(writer, signal.SIGKILL)
        while chunk := heard.read(65536):
            text += chunk
    os.waitpid(writer, 0)
    lines = text.decode().split("\n")[:-1]
    assert lines, "the writer ended by itself"
    return int(lines[-1])


def main(location: str, rounds: int) -> None:
    chance = random.Random(20)
    acknowledged = 0
    for _ in range(rounds):
        acknowledged = round_of(location, acknowledged, chance)
        database = open_database(location)
        names = [row.key.name for row in database.load().rows]
        database.close()
        assert names == [f"{number:09}" for number in range(len(names))], "there in part, or out of order"
        assert len(names) >= acknowledged, f"{acknowledged} acknowledged, {len(names)} there"
        assert len(names) % BATCH == 0, "a batch is there in part"
        acknowledged = len(names)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
