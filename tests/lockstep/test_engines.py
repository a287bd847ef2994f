"""The three engines agree with one another, and none of them lies about how a call ended."""

import multiprocessing
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from toy_vault import ACTORS, ADAPTER, DEPLOYER, ROOT, SOURCE

from lockstep import abi
from lockstep.checker import Checker
from lockstep.compiler import compile_vyper
from lockstep.engines import ENGINES, GENESIS_TIME, Engine, EngineError, Outcome, open_engine
from lockstep.engines.anvil import STOP_SECONDS, AnvilEngine
from lockstep.engines.revm import RevmEngine
from lockstep.step import Step

USER = next(iter(ACTORS.values()))
# counts calls in slot 0 and in transient slot 0, returns (count, transient, timestamp)
COUNTER = "5f54600101805f555f525f5c6001018060205280" + "5f5d" + "4260405260605ff3"


def initcode(runtime: str) -> bytes:
    code = bytes.fromhex(runtime)
    return bytes.fromhex(f"60{len(code):02x}600c60003960{len(code):02x}6000f3") + code


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    opened = open_engine(request.param)
    yield opened
    opened.close()


def integers(output: bytes) -> list[int]:
    return [int.from_bytes(output[i : i + 32], "big") for i in range(0, len(output), 32)]


def test_calls_are_separate_transactions_at_the_time_set(engine: Engine) -> None:
    counter = engine.deploy(initcode(COUNTER), DEPLOYER)
    engine.set_time(GENESIS_TIME + 50)
    assert integers(engine.call(USER, counter, b"").output) == [1, 1, GENESIS_TIME + 50]
    engine.set_time(GENESIS_TIME + 50)  # the same time twice
    assert integers(engine.call(USER, counter, b"").output) == [2, 1, GENESIS_TIME + 50]
    engine.set_time(GENESIS_TIME + 99)
    assert integers(engine.view(counter, b"").output) == [3, 1, GENESIS_TIME + 99]
    assert engine.storage(counter, 0) == 2
    assert engine.code(counter).hex() == COUNTER
    assert engine.code(USER) == b""


def test_snapshot_restores_state_time_and_addresses(engine: Engine) -> None:
    counter = engine.deploy(initcode(COUNTER), DEPLOYER)
    outer = engine.snapshot()
    engine.set_time(GENESIS_TIME + 500)
    engine.call(USER, counter, b"")
    engine.snapshot()
    second = engine.deploy(initcode(COUNTER), DEPLOYER)
    engine.call(USER, counter, b"")
    engine.revert(outer)
    assert engine.storage(counter, 0) == 0
    engine.set_time(GENESIS_TIME + 10)  # earlier than before the revert
    assert integers(engine.call(USER, counter, b"").output) == [1, 1, GENESIS_TIME + 10]
    assert engine.deploy(initcode(COUNTER), DEPLOYER) == second
    with pytest.raises(EngineError, match="used up"):
        engine.revert(outer)


def test_time_does_not_go_back(engine: Engine) -> None:
    engine.set_time(GENESIS_TIME + 10)
    with pytest.raises(EngineError, match="may not go back"):
        engine.set_time(GENESIS_TIME + 9)


@pytest.mark.parametrize(
    ("runtime", "output"), [("60ff5f5260205ffd", abi.word(255)), ("5f5ffd", b"")]
)
def test_revert_is_told_with_its_data(engine: Engine, runtime: str, output: bytes) -> None:
    target = engine.deploy(initcode(runtime), DEPLOYER)
    for outcome in (engine.call(USER, target, b""), engine.view(target, b"")):
        assert outcome._replace(gas=0) == Outcome(False, output, [], "", 0)


@pytest.mark.parametrize("runtime", ["fe", "01", "600456"])
def test_halt_is_never_a_revert(engine: Engine, runtime: str) -> None:
    target = engine.deploy(initcode(runtime), DEPLOYER)
    for outcome in (engine.call(USER, target, b""), engine.view(target, b"")):
        assert not outcome.ok
        assert outcome.halted
        assert outcome.output == b""


def test_failed_deployment_is_an_engine_error(engine: Engine) -> None:
    with pytest.raises(EngineError, match="deployment failed"):
        engine.deploy(bytes.fromhex("5f5ffd"), DEPLOYER)


def campaign_outcomes(engine: Engine, steps: list[Step]) -> list[Outcome]:
    twin = ADAPTER.new_twin(engine, {"first_id": 7})
    outcomes = []
    for step in steps:
        engine.set_time(step.at)
        outcomes.append(engine.call(*twin.encode(step)))
    return outcomes


def toy_steps(count: int, seed: int = 3) -> list[Step]:
    engine = open_engine("revm")
    twin = ADAPTER.new_twin(engine, {"first_id": 7})
    rng = random.Random(seed)
    steps = []
    for _ in range(count):
        steps.append(ADAPTER.generate(twin, rng))
        twin.execute_model(steps[-1])
    engine.close()
    return steps


def test_engines_agree_on_the_toy_and_true_gas_is_equal() -> None:
    steps = toy_steps(60)
    outcomes = {}
    for name in ENGINES:
        engine = open_engine(name)
        outcomes[name] = campaign_outcomes(engine, steps)
        assert engine.gas_is_real is (name != "revm")
        engine.close()
    assert outcomes["pyevm"] == outcomes["anvil"]  # gas included
    assert [item._replace(gas=0) for item in outcomes["pyevm"]] == outcomes["revm"]
    assert {item.ok for item in outcomes["revm"]} == {True, False}


def test_the_toy_agrees_with_its_model_on_every_engine(engine: Engine) -> None:
    checker = Checker(ADAPTER, engine, {"first_id": 7}, whole_every=10)
    changes = 0
    for step in toy_steps(40):
        changes += checker.step(step).changed
    checker.finish()
    assert checker.steps == 40
    assert 0 < changes < 40
    assert checker.invariants_checked() == {"T1": changes + 1, "T2": 1}


def test_revm_loses_nothing_when_it_drops_its_journal() -> None:
    steps = toy_steps(400)
    plain, compacting = RevmEngine(), RevmEngine(compact_every=37)
    assert campaign_outcomes(plain, steps) == campaign_outcomes(compacting, steps)
    checker = Checker(ADAPTER, RevmEngine(compact_every=50), {"first_id": 7}, whole_every=60)
    for step in steps:
        checker.step(step)
    checker.finish()
    address = checker.twin.all_words().__iter__().__next__()[0]
    assert checker.engine.code(address) == compile_vyper(SOURCE, root=ROOT).runtime


@pytest.mark.parametrize("name", ENGINES)
def test_out_of_gas_in_the_toy_is_a_halt(name: str) -> None:
    engine = open_engine(name, gas_limit=2_000_000)
    artifact = compile_vyper(SOURCE, root=ROOT)
    vault = engine.deploy(artifact.initcode + abi.words(1), DEPLOYER)
    outcome = engine.call(USER, vault, abi.selector("burn_gas()"))
    assert outcome.halted
    assert not outcome.ok
    engine.close()


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


OPENS_ANVIL = """
import sys, time
from lockstep.engines.anvil import AnvilEngine
print(AnvilEngine().url.rpartition(":")[2], flush=True)
time.sleep(60)
"""


def test_a_killed_process_takes_its_anvil_along() -> None:
    with subprocess.Popen([sys.executable, "-c", OPENS_ANVIL], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert answers(port)
        process.kill()
    deadline = time.monotonic() + 10
    while answers(port):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_anvil_ends_at_once_though_another_process_holds_its_pipe() -> None:
    engine = open_engine("anvil")
    assert isinstance(engine, AnvilEngine)
    port = int(engine.url.rpartition(":")[2])
    other = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    other.start()
    began = time.monotonic()
    engine.close()
    assert time.monotonic() - began < STOP_SECONDS
    assert not answers(port)
    other.kill()
    other.join()


def test_an_anvil_that_does_not_start_is_told_with_a_remedy() -> None:
    with pytest.raises(EngineError, match="anvil did not start: run `npm install"):
        AnvilEngine(binary="false")
