"""Many pieces of work, each in a process of its own, some at a time."""

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

MEMORY = 4 << 30  # bytes of address space: a mutant may want them all
QUIET_SECONDS = 10.0


class Done(NamedTuple):
    """What came of one item."""

    item: Any
    value: Any = None
    failure: str = ""  # "hang" or "died" instead of a value


def each(
    items: Sequence[Any],
    work: Callable[[Any], Any],
    processes: int,
    limit: Callable[[Any], float] = lambda item: inf,
    idle: Callable[[list[Any]], None] = lambda running: None,
) -> Iterator[Done]:
    """work(item) for each, as they finish. Who takes longer than limit(item) seconds is ended.
    Raises RuntimeError when work raises.

    `idle` is told what is running whenever nothing has finished for ten seconds. Closing the
    iterator, or Ctrl-C, ends what is running.
    """
    context = multiprocessing.get_context("fork")
    waiting = list(reversed(items))
    running: dict[Connection, tuple[Any, BaseProcess, float]] = {}
    told = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                item = waiting.pop()
                mine, its = context.Pipe(duplex=False)
                worker: BaseProcess = context.Process(
                    target=_work, args=(work, item, its), daemon=True
                )
                worker.start()
                its.close()
                running[mine] = (item, worker, time.monotonic() + limit(item))
            ready = wait(list(running), 0.5)
            now = time.monotonic()
            late = [key for key in running if key not in ready and now > running[key][2]]
            if ready or now - told >= QUIET_SECONDS:
                told = now
                if not ready:
                    idle([item for item, _, _ in running.values()])
            for connection in (*ready, *late):
                assert isinstance(connection, Connection)
                item, worker, _ = running.pop(connection)
                if connection in late:
                    worker.kill()
                    done = Done(item, failure="hang")
                else:
                    done = _received(item, connection)
                worker.join()
                connection.close()
                yield done
    finally:
        for _, left, _ in running.values():
            left.kill()
            left.join()


def _received(item: Any, connection: Connection) -> Done:
    try:
        value, failure = connection.recv()
    except EOFError:
        return Done(item, failure="died")
    if failure:
        raise RuntimeError(f"a worker process failed: {failure}")
    return Done(item, value)


def _work(work: Callable[[Any], Any], item: Any, connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        connection.send((work(item), ""))
    except Exception as error:
        connection.send((None, f"{type(error).__name__}: {error}"))
        raise
