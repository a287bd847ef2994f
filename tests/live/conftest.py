"""Markets on anvil, put back after each test, and what stands in front of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from operations.stage import Stage
from tests.live.faulty_rpc import FaultyNode


@pytest.fixture
def make_stage() -> Iterator[Callable[..., Stage]]:
    """Deploys a market with some settings changed."""
    with ExitStack() as stack:

        def make(**changes) -> Stage:
            stage = Stage(**changes)
            stack.callback(stage.close)
            return stage

        yield make


@pytest.fixture
def stage(make_stage) -> Stage:
    """A market without a price, on a chain of its own: one that is put back forgets blocks."""
    stage = make_stage()
    stage.mine(6)  # deeper than any reorganisation here
    return stage


@pytest.fixture
def node(stage) -> Stage:
    """The same, where it is the chain that matters."""
    return stage


@pytest.fixture
def faulty(node) -> Iterator[FaultyNode]:
    """In front of such a market's node; it fails in nothing yet."""
    faulty = FaultyNode(node.address)
    yield faulty
    faulty.close()
