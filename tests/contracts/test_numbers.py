"""Numbers without sense: every numeric argument of every external function, one at a time."""

from collections.abc import Iterator
from typing import Any

import pytest
from both_forms import ANY, PRICE, RISK, BothForms

from perp_fuzz.deployment import WAD, compile_contracts

FILES = {
    "market": "PerpMarket",
    "pool": "LiquidityPool",
    "engine": "RiskEngine",
    "configurator": "Configurator",
}
HUGE = (
    *(2**256 - 1, 2**255, 2**255 - 1, 2**160, 2**128, 2**120 + 1),
    *(2**104, 2**96, 2**96 - 1, 2**64, 2**40),
)


class Signed(int):
    """An argument of a signed type: the numbers here are beyond it, and refused by the decoder."""


def calls(market: BothForms, position_id: int) -> dict[str, tuple[str, tuple[Any, ...]]]:
    """A call of each function with a number among its arguments. Unless it is for the market or
    the configurator alone it succeeds."""
    unit = market.unit
    one, none = Signed(1), Signed(0)
    system = market.system
    return {
        "market.open": ("trader_0", (0, WAD, 1_000 * unit, ANY)),
        "market.increase": ("trader_0", (position_id, WAD, 1_000 * unit, ANY)),
        "market.reduce": ("trader_0", (position_id, WAD // 2, 0)),
        "market.close": ("trader_0", (position_id, 0)),
        "market.add_margin": ("trader_0", (position_id, 1)),
        "market.remove_margin": ("trader_0", (position_id, 1)),
        "market.continue_backlog": ("keeper_0", (1,)),
        "market.liquidate": ("keeper_0", (position_id,)),
        "market.settle": ("keeper_0", (position_id,)),
        "market.fund_insurance": ("trader_0", (1,)),
        "pool.deposit": ("lp_0", (1_000, "lp_0")),
        "pool.mint": ("lp_0", (10**6, "lp_0")),
        "pool.withdraw": ("lp_0", (1_000, "lp_0", "lp_0")),
        "pool.redeem": ("lp_0", (10**6, "lp_0", "lp_0")),
        "pool.transfer": ("lp_0", ("lp_1", 1)),
        "pool.transferFrom": ("lp_1", ("lp_0", "lp_1", 1)),
        "pool.approve": ("lp_0", ("lp_1", 1)),
        "pool.pay_profit": ("attacker", ("attacker", 1)),
        "pool.collect_loss": ("attacker", (1,)),
        "engine.observe_price": ("attacker", (PRICE, 1, market.now, PRICE, market.now - 1)),
        "engine.record_update": ("attacker", (1, none, (1, 0, none))),
        "engine.choose_deleveraged": ("attacker", (PRICE, (none, none), 1, one, 1, 32)),
        "engine.cover_shortfall": ("attacker", (1, 1)),
        "engine.set_params": ("attacker", (RISK,)),
        "engine.restrict": ("attacker", (1,)),
        "configurator.propose_params": ("owner_0", (system.market, RISK)),
        "configurator.tighten": ("owner_0", (system.market, RISK)),
        "configurator.guardian_restrict": ("guardian_0", (system.market, 1)),
        "configurator.propose_publishers": ("owner_0", (system.feed, ("0x" + "11" * 20,), 1)),
    }


def spots(args: tuple[Any, ...]) -> Iterator[tuple[int, ...]]:
    """Where there are numbers: places within places."""
    for i, value in enumerate(args):
        if isinstance(value, tuple):
            yield from ((i, *rest) for rest in spots(value))
        elif isinstance(value, int) and not isinstance(value, Signed):
            yield (i,)


def replaced(args: tuple[Any, ...], spot: tuple[int, ...], number: int) -> tuple[Any, ...]:
    """The arguments with another number in one place."""
    i, *rest = spot
    items = list(args)
    items[i] = replaced(items[i], tuple(rest), number) if rest else number
    make = getattr(args, "_make", tuple)
    return make(items)  # type: ignore[no-any-return]


def numeric_functions() -> set[str]:
    """Those that change state and take a number, as the compiler lists them."""
    return {
        f"{contract}.{item['name']}"
        for contract, file in FILES.items()
        for item in compile_contracts()[file].abi
        if item["type"] == "function"
        and item["stateMutability"] == "nonpayable"
        and any("uint256" in str(entry) for entry in item["inputs"])
    }


NUMERIC = sorted(numeric_functions())


def test_every_function_with_a_number_is_called_here(market: BothForms) -> None:
    assert set(calls(market, 1)) == set(NUMERIC)


def with_huge_numbers(args: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The arguments with each number in each place, and in all of them."""
    numeric = list(spots(args))
    everywhere = [numeric] * (len(numeric) > 1)
    for number in HUGE:
        for chosen in [[spot] for spot in numeric] + everywhere:
            changed = args
            for spot in chosen:
                changed = replaced(changed, spot, number)
            yield changed


@pytest.mark.parametrize("function", NUMERIC)
def test_overflow_sized_numbers_are_refused_with_a_reason_or_taken(function: str) -> None:
    left = None
    while left != []:
        with BothForms() as market:
            market.start()
            role, args = calls(market, market.open())[function]
            market.now += 1
            left = list(with_huge_numbers(args)) if left is None else left
            while left:
                changed = left.pop()
                succeeds, reason = market.call(role, function, *changed)
                assert succeeds or reason, f"{function}{changed} reverts without a reason"
                # What the configurator and its engine take leaves the next call as it was.
                if succeeds and function.startswith(("market", "pool")):
                    break


VIEWS = {
    "market.health": [(1,)],
    "market.position": [(1,)],
    "market.index_word": [(0, 1), (1, 1), (2, 1), (3, 1)],
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
                for spot in spots(args):
                    changed = replaced(args, spot, number)
                    assert market.same_view(function, *changed), (function, changed)
