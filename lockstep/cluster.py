"""The chains of a campaign on a Dask cluster.

A chain is a task. A worker that is lost costs the chain it was running: the scheduler gives it to
another. The workers must have the same code, which every task looks at first.

    dask scheduler                                            # prints its address
    dask worker tcp://host:8786 --nworkers 8 --nthreads 1     # on each machine, in a clone
    make fuzz CLUSTER=tcp://host:8786 STEPS=10_000_000
"""

import asyncio
import hashlib
import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from lockstep.campaign import Chain, Divergence, Plan, Result, run_chain
from lockstep.errors import InputError
from lockstep.tally import Tally

ANSWER_SECONDS = 10  # for a scheduler to answer
WORKER_SECONDS = 30  # for a first worker to be there
SOURCES = (".py", ".vy", ".vyi")


def run(plan: Plan, address: str, tick: Callable[[int], None]) -> Result:
    """All chains, up to the first failure. Ctrl-C keeps the chains that are done."""
    distributed = _distributed()
    client = _connect(distributed, address)
    tally = Tally(plan.adapter)
    try:
        code = code_digest(sources(plan))
        # Impure: a result is never taken from an earlier campaign.
        futures = client.map(_run_task, plan.chains(), plan=plan, code=code, pure=False)
        for _, (steps, part, found) in distributed.as_completed(futures, with_results=True):
            tally.merge(part)
            tick(steps)
            if found is not None:
                return Result(tally, found, False)
    except KeyboardInterrupt:
        return Result(tally, None, True)
    except RuntimeError as error:
        if "deserialization" not in str(error):
            raise
        raise InputError(
            f"cluster {address}: the scheduler cannot load {plan.adapter.import_path}; start it in "
            "a clone of the same commit, with the same packages"
        ) from None
    except distributed.KilledWorker as error:
        raise InputError(
            f"cluster {address}: {error.allowed_failures + 1} workers were lost running one chain; "
            "have they enough memory? Try a smaller LENGTH"
        ) from None
    finally:
        client.close()  # what is not done is forgotten by the scheduler
    return Result(tally, None, False)


def _connect(distributed: Any, address: str) -> Any:
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what fails is told below
    try:
        # A client that comes to nothing is a danger: collected while the next one starts, it waits
        # for a lock that its own thread holds.
        asyncio.run(_greet(distributed, address))
        client = distributed.Client(address, timeout=ANSWER_SECONDS)
    except Exception:  # for an address it cannot read the library has many
        raise InputError(
            f"cluster {address!r}: nobody answers; start a scheduler with `dask scheduler` and "
            "give the address it prints, for example CLUSTER=tcp://127.0.0.1:8786"
        ) from None
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except distributed.TimeoutError:
        client.close()
        raise InputError(
            f"cluster {address!r}: no worker in {WORKER_SECONDS} seconds; start some with "
            f"`dask worker {address} --nthreads 1`, each in a clone of the project"
        ) from None
    return client


async def _greet(distributed: Any, address: str) -> None:
    greeting = await distributed.comm.connect(address, timeout=ANSWER_SECONDS)
    await greeting.close()


def _run_task(chain: Chain, plan: Plan, code: str) -> tuple[int, Tally, Divergence | None]:
    if code_digest(sources(plan)) != code:
        raise InputError(
            f"cluster: the worker in {os.getcwd()} has other code than this campaign; check out "
            "the same commit there and restart it"
        )
    tally = Tally(plan.adapter)
    found = run_chain(plan, chain, tally, lambda steps: None)
    return chain.steps, tally, found


def sources(plan: Plan) -> tuple[Path, ...]:
    """Where the code of a campaign is: this package and the folder of the adapter's."""
    module = sys.modules[type(plan.adapter).__module__]
    depth = len(module.__name__.split("."))
    return Path(__file__).parent, Path(str(module.__file__)).resolve().parents[depth - 1]


@lru_cache(maxsize=8)
def code_digest(folders: tuple[Path, ...]) -> str:
    """Of the texts of all sources under some folders, wherever these are."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in _sources_under(folder):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources_under(folder: Path) -> Iterator[Path]:
    for place, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if name[0] not in "._" and name != "node_modules")
        yield from (Path(place, name) for name in sorted(names) if name.endswith(SOURCES))


def _distributed() -> Any:
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise InputError(
            "CLUSTER needs the package distributed, which is not installed: run `make cluster`"
        ) from None
