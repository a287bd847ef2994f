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
NOTHING_LEFT = "nothing is left of a position that is closed"
ADDS = "adding cannot make the margin negative"

# Reasons in the text of what a function calls that its own conditions exclude.
UNREACHABLE: dict[Pair, str] = {
    ("PerpMarket.increase", errors.SIZE_TOO_SMALL): "an open position has the minimum size",
    ("PerpMarket.increase", errors.ZERO_AMOUNT): NEVER_ZERO,
    ("PerpMarket.reduce", errors.ZERO_AMOUNT): NEVER_ZERO,
    ("PerpMarket.reduce", errors.TIER_EXCEEDED): STORED_TIER,
    ("PerpMarket.add_margin", errors.INSUFFICIENT_MARGIN): ADDS,
    ("PerpMarket.update_price", errors.NO_POSITION): FROM_THE_INDEX,
    ("PerpMarket.update_price", errors.POSITION_CLOSED): FROM_THE_INDEX,
    ("PerpMarket.continue_backlog", errors.NO_POSITION): FROM_THE_INDEX,
    ("PerpMarket.continue_backlog", errors.POSITION_CLOSED): FROM_THE_INDEX,
    ("PerpMarket.close", errors.TIER_EXCEEDED): NOTHING_LEFT,
    ("PerpMarket.close", errors.SIZE_TOO_SMALL): NOTHING_LEFT,
} | {
    (f"PerpMarket.{name}", errors.NOT_MARKET): "the market itself calls its engine and its pool"
    for name in ("reduce", "close", "update_price", "continue_backlog", "liquidate", "settle")
}

FILES = {
    "PerpMarket": "perp_market",
    "LiquidityPool": "liquidity_pool",
    "RiskEngine": "risk_engine",
    "MarketFactory": "market_factory",
}
# Whose public functions each of them calls.
CALLED = {
    "PerpMarket": ("RiskEngine", "LiquidityPool"),
    "LiquidityPool": ("PerpMarket",),
    "RiskEngine": (),
    "MarketFactory": (),
}


def reachable() -> set[Pair]:
    """Each public function with the reasons in its text and in that of all it calls, in contracts
    of the same market too."""
    shared = {
        function.name: function
        for stem in ("token_transfer", "risk_bounds")
        for function in parity.read_model((ROOT / f"modules/{stem}.py").read_text()).functions
    }
    texts = {
        contract: {
            function.name: function
            for function in parity.read_model((ROOT / f"{stem}.py").read_text(), contract).functions
        }
        for contract, stem in FILES.items()
    }
    found = set()
    for contract, functions in texts.items():
        for function in functions.values():
            if not function.is_transaction:
                continue
            seen: set[Pair] = set()
            queue = [(contract, function.name)]
            while queue:
                place, name = queue.pop()
                if (place, name) in seen:
                    continue
                seen.add((place, name))
                body = texts[place].get(name) or shared.get(name)
                if body is None:
                    continue
                found |= {
                    (f"{contract}.{function.name}", REASONS[reason]) for reason in body.reasons
                }
                queue += [(place, item) for item in body.calls if item.startswith("_")]
                queue += [
                    (callee, item)
                    for item in body.calls
                    for callee in CALLED[place]
                    if item in texts[callee]
                    and not item.startswith("_")
                    and item not in texts[place]
                ]
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


def test_no_two_reasons_read_the_same() -> None:
    assert len(set(REASONS.values())) == len(REASONS)


def test_a_trace_would_be_seen() -> None:
    """The comparison of states tells apart what one token unit, one id or one flag changes."""
    world, _ = CASES["PerpMarket.add_margin", errors.ZERO_AMOUNT]()
    before = world.state()
    assert world.state() == before
    world.add_margin(1, world.amount(1))
    assert world.state() != before
