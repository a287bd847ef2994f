"""The chains of a campaign on the processes of this machine.

Each worker is given a chain when it has finished the one before; a worker that dies costs the chain
it was running, which another runs again.
"""

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from lockstep.campaign import Chain, Divergence, Plan, Result, Stopped, prepare, run_chain
from lockstep.coverage.record import Coverage
from lockstep.errors import InputError
from lockstep.interrupts import noted_interrupts
from lockstep.tally import Tally

ATTEMPTS = 3  # at one chain: what kills every worker is not the worker's fault


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker:
    """A process; `chain` is what it is running, `ticked` how many steps of that it has told."""

    chain: Chain
    ticked: int

    def __init__(self, plan: Plan, stop: Any) -> None:
        context: Any = multiprocessing.get_context("fork")  # engines cannot be pickled
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(plan, theirs, stop), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, chain: Chain) -> None:
        self.chain, self.ticked = chain, 0
        self.connection.send(chain)


def run(plan: Plan, processes: int, tick: Callable[[int], None]) -> Result:
    """All chains, up to the first failure; Ctrl-C keeps what the workers have done."""
    stop = multiprocessing.get_context("fork").Event()
    prepare(plan)
    with noted_interrupts() as interrupted:
        crew = _Crew(plan, processes, stop, interrupted, tick)
        try:
            crew.work()
        finally:
            crew.dismiss()
    return Result(crew.tally, crew.divergence, bool(interrupted) and crew.divergence is None)


class _Crew:
    """The workers of one campaign, and what they have brought so far."""

    def __init__(
        self, plan: Plan, size: int, stop: Any, interrupted: list[bool], tick: Callable[[int], None]
    ) -> None:
        self.tally = Tally(plan.adapter)
        self.divergence: Divergence | None = None
        self._plan, self._size, self._stop, self._tick = plan, size, stop, tick
        self._interrupted = interrupted
        self._waiting = deque(plan.chains())
        self._losses: Counter[int] = Counter()
        self._workers: dict[Any, _Worker] = {}

    def work(self) -> None:
        while True:
            while self._is_more() and len(self._workers) < self._size:
                worker = _Worker(self._plan, self._stop)
                self._workers[worker.connection] = worker
                worker.give(self._waiting.popleft())
            if not self._workers:
                return
            for ready in wait(list(self._workers)):  # every worker ticks, several times a second
                if self._interrupted:
                    self._stop.set()  # not by the signal's handler: this may hold the event's lock
                worker = self._workers[ready]
                try:
                    self._hear(worker, *worker.connection.recv())
                except (EOFError, ConnectionResetError):
                    self._lose(worker)

    def dismiss(self) -> None:
        for worker in self._workers.values():
            worker.process.terminate()

    def _is_more(self) -> bool:
        return bool(self._waiting) and not self._stop.is_set()

    def _hear(self, worker: _Worker, kind: str, content: Any) -> None:
        if kind == "tick":
            worker.ticked += content
            self._tick(content)
        elif kind == "bad input":
            raise InputError(content)
        elif kind == "crash":
            raise RuntimeError(f"a worker process failed: {content}")
        else:
            part, found = content
            self.tally.merge(part)
            if found is not None and self.divergence is None:
                self.divergence = found
                self._stop.set()
            if self._is_more():
                worker.give(self._waiting.popleft())
            else:
                worker.connection.send(None)
                worker.process.join()
                del self._workers[worker.connection]

    def _lose(self, worker: _Worker) -> None:
        """What it was running is put back."""
        worker.process.join()
        del self._workers[worker.connection]
        self._tick(-worker.ticked)
        chain = worker.chain
        self._losses[chain.number] += 1
        if self._losses[chain.number] == ATTEMPTS:
            raise InputError(
                f"chain {chain.number} (seed {chain.seed}) ended {ATTEMPTS} worker processes, the "
                f"last with exit code {worker.process.exitcode}: is there too little memory? Try "
                "fewer PROCESSES or a smaller LENGTH"
            )
        self._waiting.appendleft(chain)


def _work(plan: Plan, connection: Connection, stop: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    parent = multiprocessing.parent_process()
    assert parent is not None

    def tick(steps: int) -> None:
        if not parent.is_alive():
            raise SystemExit
        connection.send(("tick", steps))
        if stop.is_set():
            raise Stopped

    known = Coverage()
    while connection in wait([connection, parent.sentinel]):
        chain = connection.recv()
        if chain is None:
            return
        tally = Tally(plan.adapter)
        tally.coverage.merge(known)  # what is known needs no probes any more
        found = None
        try:
            found = run_chain(plan, chain, tally, tick)
        except Stopped:
            pass
        except InputError as error:
            connection.send(("bad input", str(error)))
            return
        except Exception as error:
            connection.send(("crash", f"{type(error).__name__}: {error}"))
            raise
        known.merge(tally.coverage)
        connection.send(("done", (tally, found)))
