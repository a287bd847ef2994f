"""The vault, and its copies with one bug each, as every tool gets them."""

from functools import cache

from lockstep import abi
from lockstep.compiler import compile_vyper
from rivals.bugs import Bug, overrides
from rivals.jobs import Job
from rivals.vault.adapter import EVENTS, ROOT, SELECTORS, SOURCE, STATE
from rivals.vault.model import ORACLE, START_PRICE


@cache
def job(bug: Bug | None = None) -> Job:
    """A job without seed and limits."""
    text = overrides(bug).get(SOURCE) or (ROOT / SOURCE).read_text()
    artifact = compile_vyper(SOURCE, root=ROOT, overrides={SOURCE: text})
    selectors = {name: code.hex() for name, code in {**SELECTORS, "state": STATE}.items()}
    initcode = artifact.initcode + abi.words(ORACLE, START_PRICE)
    topics = {action: event.topic.hex() for action, event in EVENTS.items()}
    return Job(initcode.hex(), selectors, topics, text, seed=0)
