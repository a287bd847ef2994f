"""Every reason to refuse, of every function, is met, and a refusal leaves no trace."""

from pathlib import Path

import parity
import pytest
from market_world import reason_of
from refusals import CASES, Pair

from python_model.modules import errors

ROOT = Path(__file__).resolve().parents[2] / "python_model"
REASONS = {name: text for name, text in vars(errors).items() if name.isupper()}

NEVER_ZERO = "the margin is positive whenever its bound is checked"
STORED_TIER = "a position only gets smaller here, and some tier admitted it before"
FROM_THE_INDEX = "the index holds open positions only"
ADDS = "adding cannot make the margin negative"

# Reasons in the text of what a function calls that its own conditions exclude.
UNREACHABLE: dict[Pair, str] = {
    ("PerpMarket.increase", errors.SIZE_TOO_SMALL): "an open position has the minimum size",
    ("PerpMarket.increase", errors.ZERO_AMOUNT): NEVER_ZERO,
    ("PerpMarket.reduce", errors.ZERO_AMOUNT): NEVER_ZERO,
    ("PerpMarket.reduce", errors.TIER_EXCEEDED): STORED_TIER,
    ("PerpMarket.add_margin", errors.INSUFFICIENT_MARGIN): ADDS,
    ("PerpMarket.update_price", errors.TIER_EXCEEDED): STORED_TIER,
    ("PerpMarket.update_price", errors.NO_POSITION): FROM_THE_INDEX,
    ("PerpMarket.update_price", errors.POSITION_CLOSED): FROM_THE_INDEX,
    ("PerpMarket.continue_backlog", errors.TIER_EXCEEDED): STORED_TIER,
    ("PerpMarket.continue_backlog", errors.NO_POSITION): FROM_THE_INDEX,
    ("PerpMarket.continue_backlog", errors.POSITION_CLOSED): FROM_THE_INDEX,
    ("PerpMarket.liquidate", errors.TIER_EXCEEDED): STORED_TIER,
}

FILES = {
    "PerpMarket": "perp_market",
    "LiquidityPool": "liquidity_pool",
    "PriceFeed": "price_feed",
    "MarketFactory": "market_factory",
}


def reachable() -> set[Pair]:
    """Each public function with the reasons in its text and in that of all it calls."""
    shared = parity.read_model((ROOT / "modules/token_transfer.py").read_text()).functions
    found = set()
    for contract, stem in FILES.items():
        functions = parity.read_model((ROOT / f"{stem}.py").read_text(), contract).functions
        by_name = {function.name: function for function in [*shared, *functions]}
        for function in functions:
            if not function.is_transaction:
                continue
            seen: set[str] = set()
            queue = [function.name]
            while queue:
                name = queue.pop()
                if name in by_name and name not in seen:
                    seen.add(name)
                    queue += [call for call in by_name[name].calls if call.startswith("_")]
            for name in seen:
                for reason in by_name[name].reasons:
                    found.add((f"{contract}.{function.name}", REASONS[reason]))
    return found


@pytest.mark.parametrize("pair", CASES, ids=": ".join)
def test_refuses_with_its_reason_and_leaves_no_trace(pair: Pair) -> None:
    world, call = CASES[pair]()
    before = world.state()
    assert reason_of(call) == pair[1]
    assert world.state() == before
    assert world.chain.events == []


def test_each_reason_of_each_function_is_met() -> None:
    expected = reachable()
    assert len(expected) > 100
    missing = expected - set(CASES) - set(UNREACHABLE)
    assert missing == set()
    assert set(UNREACHABLE) <= expected
    assert not set(UNREACHABLE) & set(CASES)


def test_each_case_is_in_the_text_of_its_function() -> None:
    assert set(CASES) - reachable() == set()


def test_each_reason_is_met_by_some_function() -> None:
    """None of them needs the contract's own deployment to be reached."""
    assert {reason for _, reason in CASES} == set(REASONS.values())
    assert len(set(REASONS.values())) == len(REASONS)


def test_a_trace_would_be_seen() -> None:
    """The comparison of states tells apart what one token unit, one id or one flag changes."""
    world, _ = CASES["PerpMarket.add_margin", errors.ZERO_AMOUNT]()
    before = world.state()
    assert world.state() == before
    world.add_margin(1, world.amount(1))
    assert world.state() != before
