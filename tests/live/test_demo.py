"""`make demo`: whatever ends it, nothing is left behind. It at work: test_page.py."""

import fcntl
import os
import signal
import time

import pytest
from click.testing import CliRunner

from lockstep.engines.anvil import find_anvil
from operations.demo.command import demo_command
from tests.live.living import DEPLOYED, NODE, START, Demo

SMALL = ("--traders=24", "--speed=40", f"--start={START}")
STOPPED = "stopped, nothing is left running"


@pytest.fixture
def start(tmp_path):
    """Starts demonstrations."""
    started = []

    def make(*options):
        started.append(Demo(tmp_path / "demo", *options))
        return started[-1]

    yield make
    for demo in started:
        demo.close()


def test_a_signal_while_it_starts_ends_all_of_it(start):
    demo = start(*SMALL)
    demo.wait_for(NODE)
    assert demo.stop(signal.SIGTERM) == 0
    assert STOPPED in demo.said
    assert demo.processes() == {}


def test_a_killed_demo_takes_its_node_along(start):
    demo = start(*SMALL)
    demo.wait_for(NODE)
    assert demo.processes()
    demo.process.kill()
    demo.wait(10)
    deadline = time.monotonic() + 10
    while demo.processes():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_node_that_dies_ends_it_with_a_word(start):
    demo = start(*SMALL)
    demo.wait_for(DEPLOYED)
    for number, command in demo.processes().items():
        if command.startswith(find_anvil()):
            os.kill(number, signal.SIGKILL)
    assert demo.wait(60) == 1
    assert "everything has been stopped" in demo.said
    assert demo.processes() == {}


def test_two_demos_in_one_folder_are_refused(tmp_path):
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = _refused(tmp_path)
    assert "a demo runs here already" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--data=nowhere"], "--data nowhere: no such directory"),
        (["--prices=nowhere.csv"], "nowhere.csv: no such file"),
        (["--start=2021-01-01"], "--start 2021-01-01: no price from there on"),
        (["--start=tomorrow"], "'tomorrow' is no time"),
        (["--speed=0"], "0 is not in the range"),
        (["--traders=1"], "1 is not in the range"),
        (["--host=192.0.2.1"], "page: cannot listen on 192.0.2.1"),
    ],
)
def test_bad_input_is_one_line_before_anything_starts(tmp_path, options, told):
    assert told in _refused(tmp_path, *options)


def _refused(folder, *options):
    """What it says instead of starting a node."""
    done = CliRunner(mix_stderr=False).invoke(
        demo_command(), [f"--folder={folder}", "--port=0", *options]
    )
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) == 1
    assert "anvil" not in done.stdout
    return done.stderr
