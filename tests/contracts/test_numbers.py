"""Numbers without sense: every numeric argument of every external function, one at a time."""

from typing import Any

import pytest
from both_forms import ANY, PRICE, BothForms

from perp_fuzz.deployment import WAD, compile_contracts

FILES = {"market": "PerpMarket", "pool": "LiquidityPool", "feed": "PriceFeed"}
HUGE = (
    *(2**256 - 1, 2**255, 2**255 - 1, 2**160, 2**128, 2**120 + 1),
    *(2**104, 2**96, 2**96 - 1, 2**64, 2**40),
)


def calls(market: BothForms, position_id: int) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """A call of each function with a number among its arguments that succeeds."""
    unit = market.unit
    return {
        "market.open": ("trader_0", (0, WAD, 1_000 * unit, ANY)),
        "market.increase": ("trader_0", (position_id, WAD, 1_000 * unit, ANY)),
        "market.reduce": ("trader_0", (position_id, WAD // 2, 0)),
        "market.close": ("trader_0", (position_id, 0)),
        "market.add_margin": ("trader_0", (position_id, 1)),
        "market.remove_margin": ("trader_0", (position_id, 1)),
        "market.continue_backlog": ("keeper_0", (1,)),
        "market.liquidate": ("keeper_0", (position_id,)),
        "market.fund_insurance": ("trader_0", (1,)),
        "pool.deposit": ("lp_0", (1_000, "lp_0")),
        "pool.mint": ("lp_0", (10**6, "lp_0")),
        "pool.withdraw": ("lp_0", (1_000, "lp_0", "lp_0")),
        "pool.redeem": ("lp_0", (10**6, "lp_0", "lp_0")),
        "pool.transfer": ("lp_0", ("lp_1", 1)),
        "pool.transferFrom": ("lp_1", ("lp_0", "lp_1", 1)),
        "pool.approve": ("lp_0", ("lp_1", 1)),
        "pool.pay_profit": ("attacker", (1,)),
        "pool.collect_loss": ("attacker", (1,)),
        "feed.publish": ("publisher_0", (PRICE, market.now + 1)),
    }


def numeric_functions() -> set[str]:
    """Those that change state and take a number, as the compiler lists them."""
    return {
        f"{contract}.{item['name']}"
        for contract, file in FILES.items()
        for item in compile_contracts()[file].abi
        if item["type"] == "function"
        and item["stateMutability"] == "nonpayable"
        and any(entry["type"] == "uint256" for entry in item["inputs"])
    }


NUMERIC = sorted(numeric_functions())


def test_every_function_with_a_number_is_called_here(market: BothForms) -> None:
    assert set(calls(market, 1)) == set(NUMERIC)


@pytest.mark.parametrize("function", NUMERIC)
@pytest.mark.parametrize("number", HUGE)
def test_overflow_sized_numbers_are_refused_with_a_reason_or_taken(
    function: str, number: int
) -> None:
    with BothForms() as market:
        market.start()
        _, args = calls(market, 1)[function]
    numeric = [i for i, value in enumerate(args) if isinstance(value, int)]
    for spots in [[spot] for spot in numeric] + [numeric] * (len(numeric) > 1):
        with BothForms() as market:
            market.start()
            position_id = market.open()
            role, args = calls(market, position_id)[function]
            changed = [number if i in spots else value for i, value in enumerate(args)]
            market.now += 1
            succeeds, reason = market.call(role, function, *changed)
            assert succeeds or reason, f"{function}{tuple(changed)} reverts without a reason"


VIEWS = {
    "market.quote": [(0, WAD), (1, WAD)],
    "market.health": [(1,)],
    "market.position": [(1,)],
    "pool.convertToShares": [(1,)],
    "pool.convertToAssets": [(1,)],
    "pool.previewDeposit": [(1,)],
    "pool.previewMint": [(1,)],
    "pool.previewWithdraw": [(1,)],
    "pool.previewRedeem": [(1,)],
}


@pytest.mark.parametrize("number", HUGE)
def test_views_take_or_refuse_overflow_sized_numbers_in_both_forms_alike(number: int) -> None:
    with BothForms() as market:
        market.start()
        market.open()
        for function, examples in VIEWS.items():
            for args in examples:
                for spot in range(len(args)):
                    changed = [number if i == spot else value for i, value in enumerate(args)]
                    assert market.same_view(function, *changed), (function, changed)
