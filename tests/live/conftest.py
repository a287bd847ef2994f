"""Markets on anvil, one for each test, and what stands in front of them."""

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


@pytest.fixture(scope="module")
def _lasting() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture
def node(_lasting) -> Iterator[Stage]:
    """A market whose chain is as before afterwards. Its model does not follow."""
    snapshot = _lasting.rpc("evm_snapshot")
    yield _lasting
    _lasting.rpc("evm_setAutomine", True)
    _lasting.rpc("evm_revert", snapshot)


@pytest.fixture
def stage(make_stage) -> Stage:
    return make_stage()


@pytest.fixture
def faulty(node) -> Iterator[FaultyNode]:
    """In front of such a market's node; it fails in nothing yet."""
    faulty = FaultyNode(node.address)
    yield faulty
    faulty.close()
