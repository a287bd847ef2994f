"""The same adapter under Hypothesis: it finds and shrinks through its own choices."""

import random

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from lockstep.adapter import Adapter, Config
from lockstep.checker import Checker
from lockstep.engines.base import open_engine


def state_machine(
    adapter: Adapter, config: Config, engine: str = "revm", whole_every: int = 10
) -> type[RuleBasedStateMachine]:
    """A state machine class; `TestX = state_machine(ADAPTER, {}).TestCase` makes it a test."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.engine = open_engine(engine)
            self.checker = Checker(adapter, self.engine, config, whole_every)
            self.failed = False

        @rule(rng=st.randoms(use_true_random=False))
        def step(self, rng: random.Random) -> None:
            step = adapter.generate(self.checker.twin, rng)
            note(f"{self.checker.twin.describe(step)}    {step}")
            self.failed = True  # until the step proves otherwise
            self.checker.step(step)
            self.failed = False

        def teardown(self) -> None:
            try:
                if not self.failed:  # or the second failure would hide the first
                    self.checker.finish()
            finally:
                self.engine.close()

    return Machine
