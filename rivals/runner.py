"""Give tools their jobs and take their measures."""

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from statistics import median

from rivals.compiled import job
from rivals.drivers.common import MARK
from rivals.foundry.handler import handler
from rivals.homes import HOMES, Unavailable, forge, python
from rivals.jobs import Job, Measure
from rivals.tools import Tool
from rivals.vault.adapter import ROOT

PROJECT = HOMES / "foundry"
DEPTH = 500  # calls of a Foundry run: its default


def run(tool: Tool, tasks: Sequence[Job]) -> Iterator[Measure]:
    """What came of each job, as it comes."""
    if tool.driver == "foundry":
        yield from (_forge(tool, task) for task in tasks)
    else:
        yield from _measures(tool, _start(tool, tasks))


def run_pair(tool: Tool, task: Job) -> float:
    """Steps per second of two processes. Ringfence has its own way to start them."""
    if tool.driver == "ringfence":
        (measure,) = run(tool, [task._replace(steps=2 * task.steps)])
        return measure.steps / measure.wall
    both = [_start(tool, [task._replace(seed=task.seed + i)]) for i in range(2)]
    measures = [next(_measures(tool, process)) for process in both]
    return sum(measure.steps / measure.wall for measure in measures)


def _start(tool: Tool, tasks: Sequence[Job]) -> subprocess.Popen[str]:
    lines = [json.dumps(task._replace(variant=tool.variant)._asdict()) + "\n" for task in tasks]
    command = [python(tool.home), "-m", f"rivals.drivers.{tool.driver}"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.writelines(lines)
    process.stdin.close()
    return process


def _measures(tool: Tool, process: subprocess.Popen[str]) -> Iterator[Measure]:
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        try:
            for line in process.stdout:
                if line.startswith(MARK):
                    yield Measure(**json.loads(line[len(MARK) :]))
        finally:
            if process.poll() is None:
                process.terminate()
        told = process.stderr.read().strip().splitlines()
    if process.returncode:
        raise Unavailable(f"{tool.name} failed: {told[-1] if told else process.returncode}")


# -- Foundry ---------------------------------------------------------------------------------------


def prepare_forge() -> None:
    """Write and compile the campaign."""
    (PROJECT / "test" / "Campaign.t.sol").write_text(handler())
    _run_forge(["build"], {})


def _forge(tool: Tool, task: Job) -> Measure:
    runs = -(-task.steps // DEPTH) if task.steps else 10**6
    limits = {"RUNS": str(runs), "DEPTH": str(DEPTH)}
    if task.seconds:
        limits["TIMEOUT"] = str(max(1, round(task.seconds)))
    limits["SHRINK_RUN_LIMIT"] = "0"
    start = _start_of_forge(tool)
    measure = _campaign(tool, task, limits)
    seconds = max(measure.seconds - start, 1e-3)
    measure = measure._replace(seconds=seconds)
    if not measure.found or not task.shrink:
        return measure
    del limits["SHRINK_RUN_LIMIT"]
    shrunk = _campaign(tool, task, limits)
    spent = max(shrunk.seconds - start - seconds, 0.0)
    return measure._replace(shrink_seconds=spent, left=shrunk.left)


@cache
def _start_of_forge(tool: Tool) -> float:
    """Processor time of a campaign of one step, the median of three."""
    least = {"RUNS": "1", "DEPTH": "1"}
    return median(_campaign(tool, job()._replace(seed=seed), least).seconds for seed in range(3))


def _campaign(tool: Tool, task: Job, limits: dict[str, str]) -> Measure:
    with tempfile.TemporaryDirectory() as folder:
        # What failed is kept and tried first by the next campaign: not here.
        settings = limits | {"FAILURE_PERSIST_DIR": folder}
        if tool.variant == "dictionary off":
            settings["DICTIONARY_WEIGHT"] = "0"
        elif tool.variant == "coverage":
            settings["CORPUS_DIR"] = f"{folder}/corpus"
        env = {f"FOUNDRY_INVARIANT_{name}": value for name, value in settings.items()}
        env["VAULT_INITCODE"] = "0x" + task.initcode
        env["VAULT_AIMED"] = "0x01" if task.aimed else "0x00"
        arguments = ["test", "--json", "--threads", "1", "--fuzz-seed", str(task.seed)]
        output, seconds, wall = _run_forge(arguments, env)
    # Lines about its progress come before the one with the result.
    (suite,) = json.loads(output.strip().splitlines()[-1]).values()
    (result,) = suite["test_results"].values()
    kind = result["kind"].get("Invariant")
    if kind is None:
        raise Unavailable(f"the campaign of Foundry did not start: {result['reason']}")
    steps = sum(entry["calls"] for entry in kind["metrics"].values())
    found = "" if result["status"] == "Success" else result["reason"]
    example = (result["counterexample"] or {}).get("Sequence", [0, []])
    return Measure(steps, seconds, wall, found, left=len(example[1]))


def _run_forge(arguments: list[str], env: dict[str, str]) -> tuple[str, float, float]:
    """Output, processor time and wall time."""
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [str(forge()), *arguments],
            cwd=PROJECT,
            env=os.environ | env | {"NO_COLOR": "1"},
            stdout=output,
            stderr=errors,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        text = output.read()
        if process.returncode and not text.startswith("{"):
            raise Unavailable(f"forge {arguments[0]} failed: {' '.join(errors.read().split())}")
    seconds = usage.ru_utime + usage.ru_stime
    return text, seconds, time.perf_counter() - begun
