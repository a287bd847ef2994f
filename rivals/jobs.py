"""What a tool is given to do and what comes of it. Standard library only: all drivers use it."""

from typing import NamedTuple


class Job(NamedTuple):
    """One run of one tool on one copy of the vault."""

    initcode: str  # hex, with the arguments of the constructor
    selectors: dict[str, str]  # action -> hex
    topics: dict[str, str]  # action -> hex of the topic of its event
    source: str  # the Vyper source, for who compiles himself
    seed: int
    steps: int = 0  # to run; 0 to run until a difference is found
    seconds: float = 0.0  # of processor time after which to give up
    aimed: bool = True
    variant: str = ""
    shrink: bool = False  # shrink what is found


class Measure(NamedTuple):
    """Seconds are processor time, without start-up and compilation."""

    steps: int
    seconds: float
    wall: float
    found: str = ""  # the first difference in words; "" if there was none
    shrink_seconds: float = 0.0
    left: int = 0  # steps of the shrunk failure
