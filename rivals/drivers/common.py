"""What the drivers of the Python tools share: calldata by hand, and what the model expects.

Standard library only: it runs in the environment of every rival. A driver is started as
a process of its own: jobs come in and measures go out, one line of JSON each.
"""

import json
import sys
import time
from collections.abc import Callable
from random import Random

from rivals.jobs import Job, Measure
from rivals.vault.generator import Draw, Generator
from rivals.vault.model import ADDRESSES, Model, Revert

MARK = "measure: "  # the tools print lines of their own
START_NEW = 1_000  # steps between two fresh deployments, where a tool does not decide it itself

BATCH = 256  # steps after which Ringfence compares the words that they touched


class Difference(Exception):
    """Model and contract differ."""


class Vault:
    """Model, generator and calldata: what a step is and what has to come of it."""

    def __init__(self, job: Job) -> None:
        self.selectors = {name: bytes.fromhex(code) for name, code in job.selectors.items()}
        self.topics = {name: bytes.fromhex(topic) for name, topic in job.topics.items()}
        self.model = Model()
        self.generator = Generator(self.model, job.aimed)

    def draw(self, rng: Random, name: str = "") -> tuple[Draw, int | None, str]:
        """A step, the return value the model gives it, and the reason if it reverts."""
        draw = self.generator.draw(rng, name)
        action, actor, args, at, _ = draw
        self.model.now = at
        try:
            return draw, getattr(self.model, action)(ADDRESSES[actor], *args), ""
        except Revert as revert:
            return draw, None, revert.args[0]

    def calldata(self, draw: Draw) -> bytes:
        return b"".join([self.selectors[draw[0]], *[arg.to_bytes(32, "big") for arg in draw[2]]])

    def event(self, draw: Draw, value: int | None) -> tuple[list[bytes], bytes]:
        """Topics and data of the one event of a step that succeeds."""
        action, actor, args, _, _ = draw
        sender = int(ADDRESSES[actor], 16)
        indexed: tuple[int, ...] = (sender,)
        plain = args
        if action == "set_price":
            indexed = ()
        elif action == "open":
            indexed = (value or 0, sender)
        elif action in ("close", "liquidate"):
            indexed = args if action == "close" else (*args, sender)
            plain = (value or 0,)
        topics = [self.topics[action], *[word.to_bytes(32, "big") for word in indexed]]
        return topics, b"".join([word.to_bytes(32, "big") for word in plain])

    def position(self, draw: Draw, value: int | None) -> int:
        """The position whose fields are compared after the step."""
        if draw[0] in ("close", "liquidate"):
            return draw[2][0]
        return value if draw[0] == "open" and value is not None else self.model.next_id - 1

    def state(self, user: str, identifier: int) -> tuple[bytes, bytes]:
        """Calldata of `state`, and what it has to return."""
        arguments = (int(user, 16), identifier)
        words = [word.to_bytes(32, "big") for word in self.model.state(user, identifier)]
        data = b"".join(
            [self.selectors["state"], *[word.to_bytes(32, "big") for word in arguments]]
        )
        return data, b"".join(words)


def revert_reason(data: bytes) -> str:
    """The text of Error(string)."""
    return data[68 : 68 + int.from_bytes(data[36:68], "big")].decode() or "no reason"


def same(draw: Draw, what: str, expected: object, got: object) -> None:
    if expected != got:
        raise Difference(f"{what} differs after {draw}")


def check_verdict(draw: Draw, expected: str, got: str | None) -> None:
    """Reasons: "" for success."""
    if expected != got:
        raise Difference(f"{draw}: expected {expected or 'success'}, got {got or 'success'}")


def repeat(job: Job, start: Callable[[], Callable[[], None]], length: int) -> Measure:
    """Sequences of `length` steps until the job is done; `start` deploys and gives the step."""
    begun, wall = time.process_time(), time.perf_counter()
    done = 0
    found = ""
    try:
        while not job.steps or done < job.steps:
            step = start()
            for _ in range(min(length, job.steps - done) if job.steps else length):
                done += 1
                step()
                if job.seconds and time.process_time() - begun > job.seconds:
                    raise TimeoutError
    except Difference as difference:
        found = str(difference)
    except TimeoutError:
        pass
    return Measure(done, time.process_time() - begun, time.perf_counter() - wall, found)


def main(run: Callable[[Job], Measure]) -> None:
    """Do the jobs of the standard input, one line each, and print what came of each."""
    for line in sys.stdin:
        measure = run(Job(**json.loads(line)))
        print(MARK + json.dumps(measure._asdict()), flush=True)
