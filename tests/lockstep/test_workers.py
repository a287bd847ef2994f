"""Campaigns on processes and on a cluster: what dies costs the chain it ran, nothing else."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from deadly_vault import Deadly
from toy_vault import ADAPTER, VaultAdapter, planted

from lockstep import cluster, workers
from lockstep.campaign import Plan, Result, run_campaign
from lockstep.checker import LEAST_BATCH
from lockstep.errors import InputError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def alone(plan: Plan) -> Result:
    return run_campaign(plan, processes=1)


def same(one: Result, other: Result) -> bool:
    a, b = one.tally, other.tally
    return (a.counts, a.seeds, a.chains, a.checked, a.statistics) == (
        b.counts,
        b.seeds,
        b.chains,
        b.checked,
        b.statistics,
    )


PLAN = Plan(ADAPTER, 2_000, 1, length=250, seeds=3)


def test_a_range_of_seeds_is_the_campaigns_of_its_seeds() -> None:
    together = alone(PLAN)
    one_by_one = [alone(PLAN._replace(seed=seed, seeds=1)) for seed in (1, 2, 3)]
    total = one_by_one[0].tally
    for result in one_by_one[1:]:
        total.merge(result.tally)
    assert together.tally.seeds == {1: 2_000, 2: 2_000, 3: 2_000}
    assert together.tally.counts == total.counts


@pytest.mark.parametrize("processes", [2, 5])
def test_processes_do_what_one_does(processes: int) -> None:
    assert same(run_campaign(PLAN, processes), alone(PLAN))


def test_a_killed_process_costs_only_the_chain_it_ran(tmp_path: Path) -> None:
    told: list[int] = []
    plan = PLAN._replace(adapter=Deadly(tmp_path, 3, 2))
    assert same(run_campaign(plan, 2, told.append), alone(PLAN))
    assert len(list(tmp_path.iterdir())) == 2
    assert sum(told) == 6_000  # what was told of the lost chain was taken back


def test_a_chain_that_kills_every_process_is_named(tmp_path: Path) -> None:
    plan = PLAN._replace(adapter=Deadly(tmp_path, 3, 99))
    with pytest.raises(InputError, match=r"chain 3 \(seed 1\) ended 3 worker processes"):
        run_campaign(plan, 2)


def test_ctrl_c_keeps_what_the_processes_did() -> None:
    before = signal.getsignal(signal.SIGINT)
    pressed: list[int] = []

    def tick(steps: int) -> None:
        pressed.append(steps)
        if len(pressed) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    result = run_campaign(PLAN._replace(steps=10**6, length=10**5), 2, tick)
    assert result.interrupted
    assert result.divergence is None
    assert sum(pressed) <= result.tally.steps < 10**6
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_heard_between_batches() -> None:
    before = signal.getsignal(signal.SIGINT)

    class Pressing(VaultAdapter):
        drawn = 0

        def generate(self, twin: Any, rng: Any) -> Any:
            self.drawn += 1
            if self.drawn == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return super().generate(twin, rng)

    result = alone(PLAN._replace(adapter=Pressing()))
    assert result.interrupted
    assert result.tally.steps == LEAST_BATCH
    assert signal.getsignal(signal.SIGINT) is before


def test_a_crash_of_the_generator_is_told() -> None:
    class Broken(VaultAdapter):
        def generate(self, twin: Any, rng: Any) -> Any:
            raise LookupError("no idea")

    with pytest.raises(RuntimeError, match="LookupError: no idea"):
        run_campaign(PLAN._replace(adapter=Broken()), 2)


def test_bad_input_met_by_a_process_is_told_as_such() -> None:
    class Particular(VaultAdapter):
        def generate(self, twin: Any, rng: Any) -> Any:
            raise InputError("prices.csv: row 7 is no price; mend it")

    with pytest.raises(InputError, match=r"prices.csv: row 7 is no price; mend it"):
        run_campaign(PLAN._replace(adapter=Particular()), 2)


def test_there_are_cores() -> None:
    assert workers.cores() >= 1


# -- a cluster -------------------------------------------------------------------------------------


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        path = f"{ROOT}:{HERE}"
        self.environment = os.environ | {"PYTHONPATH": path, "DASK_DISTRIBUTED__LOGGING": "{}"}
        file = folder / "scheduler.json"
        self.start("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0",
                   "--no-dashboard", "--scheduler-file", str(file))  # fmt: skip
        deadline = time.monotonic() + 60
        while not file.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]

    def start(self, module: str, *args: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *args],
            cwd=self.folder, env=self.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def add_worker(self) -> subprocess.Popen[bytes]:
        return self.start("distributed.cli.dask_worker", self.address, "--nthreads", "1",
                          "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")  # fmt: skip

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory):
    running = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        running.add_worker()
        running.add_worker()
        yield running
    finally:
        running.close()


def test_a_cluster_does_what_one_process_does(two_workers: Cluster) -> None:
    ticks: list[int] = []
    result = run_campaign(PLAN, tick=ticks.append, cluster=two_workers.address)
    assert same(result, alone(PLAN))
    assert sum(ticks) == 6_000


def test_a_cluster_brings_a_divergence_home(two_workers: Cluster) -> None:
    plan = PLAN._replace(adapter=planted("rate + 9_999)", "rate)"))
    found = run_campaign(plan, cluster=two_workers.address).divergence
    assert found is not None
    assert found.kind == "return value"


def test_a_lost_worker_costs_only_what_it_ran(two_workers: Cluster, tmp_path: Path) -> None:
    two_workers.add_worker()  # the one to lose
    plan = PLAN._replace(adapter=Deadly(tmp_path, 5, 1))
    result = run_campaign(plan, cluster=two_workers.address)
    assert len(list(tmp_path.iterdir())) == 1
    assert [process.poll() for process in two_workers.processes].count(-signal.SIGKILL) == 1
    assert result.tally.seeds == {1: 2_000, 2: 2_000, 3: 2_000}
    assert same(result, alone(PLAN))


def test_a_worker_with_other_code_is_told(two_workers: Cluster, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "code_digest", lambda folders: "of this side")
    with pytest.raises(InputError, match="has other code than this campaign"):
        run_campaign(PLAN, cluster=two_workers.address)


def test_a_cluster_without_workers_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "WORKER_SECONDS", 1)
    empty = Cluster(tmp_path)
    try:
        with pytest.raises(InputError, match="no worker in 1 seconds; start some with"):
            run_campaign(PLAN, cluster=empty.address)
    finally:
        empty.close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "tcp://127.0.0.1:port"])
def test_an_address_nobody_answers_at_is_told(address: str, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 1)
    running = set(threading.enumerate())
    with pytest.raises(InputError, match="nobody answers; start a scheduler"):
        run_campaign(PLAN, cluster=address)
    assert set(threading.enumerate()) == running  # no client that comes to nothing was begun


def test_the_digest_is_of_texts_not_of_places(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "inner").mkdir(parents=True)
        (folder / "inner" / "a.vy").write_text("x: uint256")
        (folder / "notes.txt").write_text(folder.name)
    assert cluster.code_digest((one,)) == cluster.code_digest((other,))
    (other / "inner" / "b.py").write_text("")
    cluster.code_digest.cache_clear()
    assert cluster.code_digest((one,)) != cluster.code_digest((other,))
