"""Who is measured: how each is started, and how much it is given to do."""

from typing import NamedTuple


class Tool(NamedTuple):
    key: str  # for ONLY=
    name: str
    driver: str  # module in rivals/drivers, or "foundry"
    home: str  # environment in .rivals; "" for this one
    variant: str
    steps: int  # of one round: a second or two
    # Ringfence should be at least so many times as fast as the tool in the way it is used; what
    # leaves something out to be faster has none.
    target: float = 0.0
    hunts: bool = True  # looks for the bugs too
    shrinks: bool = False
    values: str = "yes"  # whether it shrinks values too


TOOLS = (
    Tool("ringfence", "Ringfence `lockstep`", "ringfence", "", "", 60_000, shrinks=True),
    Tool(
        "ringfence",
        "Ringfence, one step at a time",
        "ringfence",
        "",
        "one at a time",
        40_000,
        hunts=False,
    ),
    Tool(
        "wake",
        "Wake 5 FuzzTest",
        "wake",
        "wake",
        "fuzz test",
        25_000,
        2,
        shrinks=True,
        values="no",
    ),
    Tool(
        "wake",
        "Wake 5 FuzzTest, state at times",
        "wake",
        "wake",
        "fuzz test, state at times",
        25_000,
        hunts=False,
    ),
    Tool("wake", "Wake 5, plain loop", "wake", "wake", "loop", 30_000, hunts=False),
    Tool(
        "foundry",
        "Foundry invariant, defaults",
        "foundry",
        "foundry",
        "",
        15_000,
        3,
        shrinks=True,
        values="partly",
    ),
    Tool("foundry", "Foundry, dictionary off", "foundry", "foundry", "dictionary off", 15_000),
    Tool("foundry", "Foundry, coverage-guided", "foundry", "foundry", "coverage", 10_000),
    Tool("hypothesis", "Hypothesis, rules", "hypothesis", "", "rules", 2_000, 10, shrinks=True),
    Tool("hypothesis", "Hypothesis, a seed a step", "hypothesis", "", "seeded", 5_000),
    Tool("boa", "titanoboa, plain loop", "boa", "boa", "loop", 400, 80, hunts=False),
    Tool(
        "boa",
        "titanoboa, plain loop, without repr",
        "boa",
        "boa",
        "loop without repr",
        600,
    ),
    Tool("boa", "titanoboa + Hypothesis", "boa", "boa", "hypothesis", 400, 80, hunts=False),
    Tool(
        "boa",
        "titanoboa + Hypothesis, without repr",
        "boa",
        "boa",
        "hypothesis without repr",
        600,
        hunts=False,
    ),
)
PAIRS = (  # the same on two processes
    Tool("ringfence", "Ringfence, two processes", "ringfence", "", "two processes", 60_000),
    Tool("wake", "Wake 5 FuzzTest, two processes", "wake", "wake", "fuzz test", 25_000),
)
KEYS = ("ringfence", "wake", "foundry", "hypothesis", "boa")
