"""The embedded queue: kombu's filesystem transport with what a crash or a stale reader needs.

A message appears whole or not at all, one that can't be read is put aside instead of ending the worker, and
control messages to workers that are gone do not pile up.
"""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.transport import filesystem
from kombu.utils.encoding import bytes_to_str, str_to_bytes
from kombu.utils.json import dumps, loads

from marketjobs.config import QUEUES
from marketjobs.tasks.refusals import refuse

CONTROL_SECONDS = 60.0
MOST_CONTROL_MESSAGES = 50
STILL_WRITTEN_SECONDS = 0.5


class Channel(filesystem.Channel):
    """Messages are files ``<milliseconds>_<unique>.<queue>.msg`` in one folder."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        if queue not in QUEUES and not self._room_for_control(queue):
            return
        folder = Path(self.data_folder_out)
        name = f"{time.time_ns() // 1_000_000:013d}_{uuid.uuid4().hex}.{queue}.msg"
        hidden = folder / f".{name}.part"
        hidden.write_bytes(str_to_bytes(dumps(payload)))
        hidden.rename(folder / name)

    def _get(self, queue: str) -> Any:
        for name in self._names(queue):
            taken = Path(self.processed_folder) / f"{os.getpid()}.{name}"
            try:
                (Path(self.data_folder_in) / name).rename(taken)
            except FileNotFoundError:
                continue  # another worker was faster
            message = _message(taken)
            if not self._is_message(message):
                taken.rename(taken.with_suffix(".unreadable"))
                refuse("no message")
                continue
            taken.unlink()
            return message
        raise Empty

    def _is_message(self, payload: Any) -> bool:
        """Would kombu take it?  Otherwise it would end the worker."""
        try:
            self.Message(payload, channel=self)
        except Exception:  # a door: whatever is wrong with it, nobody can read it
            return False
        return True

    def _names(self, queue: str) -> list[str]:
        ending = f"{queue}.msg"
        with os.scandir(self.data_folder_in) as entries:
            # A folder or a pipe of that name is nobody's message: the one can't be read, the other without end.
            found = [one.name for one in entries if one.name.endswith(ending) and one.is_file(follow_symlinks=False)]
        return sorted(name for name in found if name.partition(".")[2] == ending and not name.startswith("."))

    def _size(self, queue: str) -> int:
        return len(self._names(queue))

    def _room_for_control(self, queue: str) -> bool:
        """Who lives reads control messages and events at once; what lies longer has no reader any more."""
        names = self._names(queue)
        old = (time.time() - CONTROL_SECONDS) * 1000
        for name in names:
            if int(name.partition("_")[0]) < old:
                (Path(self.data_folder_in) / name).unlink(missing_ok=True)
        return len(names) < MOST_CONTROL_MESSAGES


def _message(file: Path) -> Any:
    """What a file holds; ``None``: no JSON, or it can't be read.

    Another program's kombu makes the file first and fills it then, so a part of one is looked at again.
    """
    give_up_at = time.monotonic() + STILL_WRITTEN_SECONDS
    while True:
        try:
            return loads(bytes_to_str(file.read_bytes()))
        except (RecursionError, OSError):
            return None
        except ValueError:
            if time.monotonic() > give_up_at:
                return None
        time.sleep(0.02)


def sweep(folder: Path) -> None:
    """Forget what was meant for processes that are gone; to be called while none is running."""
    for binding in (folder / "control").glob("*.exchange"):
        binding.unlink(missing_ok=True)
    for message in (folder / "messages").glob("*.msg"):
        if message.name.partition(".")[2].removesuffix(".msg") not in QUEUES:
            message.unlink(missing_ok=True)
    for left in ((folder / "messages").glob(".*.part"), (folder / "processed").glob("*.msg")):
        for file in left:
            file.unlink(missing_ok=True)


class Transport(filesystem.Transport):
    """A worker looks into the folder from its event loop, as it reads the sockets of other brokers.

    Without a loop, Celery would have the processes of its pool share one pipe under one lock: whoever is killed with
    that lock in hand leaves the others waiting for ever.
    """

    Channel = Channel
    implements = filesystem.Transport.implements.extend(asynchronous=True)

    def register_with_event_loop(self, connection: Any, loop: Any) -> None:
        loop.on_tick.add(self._take_what_is_there)
        loop.call_repeatedly(self.polling_interval, _tick)

    def _take_what_is_there(self) -> None:
        try:
            while True:
                self.cycle.get(self._deliver)
        except Empty:
            pass


def _tick() -> None:
    """Nothing: the loop itself looks after each of its timers."""
