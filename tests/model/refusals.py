"""One call for each reason with which each function of the model can refuse.

A case is a function that builds a world and returns it with the call that must revert. The table is
complete: test_refusals compares it with the reasons that each function's text can reach.
"""

from collections.abc import Callable
from typing import Any

from market_world import (
    ANY_PRICE,
    FRICTIONLESS,
    PARAMS,
    RISK,
    ROLE,
    Feed,
    World,
    address,
    params_of,
    tiers,
    wad,
)

from python_model.evm import MAX_UINT256, Contract
from python_model.liquidity_pool import Account
from python_model.modules import errors
from python_model.modules.constants import LONG, MAX_MARGIN, MAX_SIZE, SHORT, WAD
from python_model.perp_market import SETTLEMENT_DELAY
from python_model.testing.token_mock import TokenMock

Call = Callable[[], Any]
Case = Callable[[], tuple[World, Call]]
Pair = tuple[str, str]  # "Contract.function", reason

CASES: dict[Pair, Case] = {}


class RefusingToken(TokenMock):
    """A token whose transfers can be made to return false."""

    is_refusing = False

    def transfer(self, receiver: str, amount: int, *, sender: str) -> bool:
        return not self.is_refusing and super().transfer(receiver, amount, sender=sender)

    def transferFrom(self, sender_: str, receiver: str, amount: int, *, sender: str) -> bool:
        if self.is_refusing:
            return False
        return super().transferFrom(sender_, receiver, amount, sender=sender)


def refusal(function: str, reason: str) -> Callable[[Case], Case]:
    """Enters a case in the table."""

    def enter(case: Case) -> Case:
        assert (function, reason) not in CASES
        CASES[function, reason] = case
        return case

    return enter


# Worlds


def with_position(side: int = LONG, **changes: Any) -> tuple[World, int]:
    """The trader holds 10 units at about 100 with 200 of margin."""
    world = World(**changes)
    return world, world.open(side, 10, 200)


def with_backlog() -> tuple[World, int]:
    """40 positions of another are liquidatable, 32 of them are gone; the trader's is healthy."""
    world, position_id = with_position()
    for _ in range(40):
        world.open(LONG, 1, "5.5", by="other_trader")
    assert world.publish(95) == 32
    assert world.market.totals().has_backlog
    return world, position_id


FAST_FUNDING: dict[str, Any] = {
    "max_open_interest": wad(1_000),
    "max_skew": wad(1_000),
    "skew_scale": wad(200_000),
    "max_funding_rate": wad("0.0002"),
    "liquidation_penalty": wad("0.006"),
    **tiers((1_000, "0.0125", "0.012")),
}


def with_liquidatable(token: type[TokenMock] = TokenMock) -> tuple[World, int]:
    """The trader's position is liquidatable: funding has eaten it since the price came."""
    world = World(token=token, **FAST_FUNDING)
    position_id = world.open(LONG, 1_000, 1_560)
    world.wait(PARAMS.max_price_age)
    assert world.is_liquidatable(position_id)
    return world, position_id


def with_loser() -> tuple[World, int]:
    """Like `with_liquidatable`, and the token refuses the transfer to the pool."""
    world, position_id = with_liquidatable(RefusingToken)
    world.token.is_refusing = True  # type: ignore[attr-defined]
    return world, position_id


def with_refusing_token() -> tuple[World, int]:
    """The trader's position has lost a little, the token now refuses every transfer."""
    world, position_id = with_position(token=RefusingToken)
    world.publish(99)
    world.token.is_refusing = True  # type: ignore[attr-defined]
    return world, position_id


def held(world: World) -> World:
    """The price has jumped and waits for a second one; the oldest is still fresh."""
    world.publish(300)
    assert world.market.totals().is_halted
    return world


def restricted(world: World) -> World:
    """The guardian lets nobody add risk for an hour."""
    guardian = ROLE["guardian"]
    world.configurator.guardian_restrict(world.market, 3_600, sender=guardian)
    return world


def short_of_tokens(world: World) -> World:
    """A unit that the market has booked is no longer there."""
    world.token.transfer(ROLE["keeper"], 1, sender=world.market.address)
    return world


def without_allowance(world: World, name: str) -> None:
    for spender in (world.market.address, world.pool.address):
        world.token.approve(spender, 0, sender=ROLE[name])


def without_balance(world: World, name: str) -> None:
    world.token.transfer(ROLE["keeper"], world.balance(name), sender=ROLE[name])


def call(contract: Contract, name: str, *arguments: Any, by: str) -> Call:
    return lambda: getattr(contract, name)(*arguments, sender=ROLE.get(by, by))


# Market: open


def opening(
    world: World,
    side: int = LONG,
    size: int = 10 * WAD,
    margin: int = 200_000_000,
    acceptable_price: int = MAX_UINT256,
) -> tuple[World, Call]:
    return world, call(world.market, "open", side, size, margin, acceptable_price, by="trader")


@refusal("PerpMarket.open", errors.UNKNOWN_SIDE)
def _() -> tuple[World, Call]:
    return opening(World(), side=2)


@refusal("PerpMarket.open", errors.ZERO_AMOUNT)
def _() -> tuple[World, Call]:
    return opening(World(), margin=0)


@refusal("PerpMarket.open", errors.AMOUNT_TOO_LARGE)
def _() -> tuple[World, Call]:
    return opening(World(), margin=MAX_MARGIN + 1)


@refusal("PerpMarket.open", errors.BACKLOG)
def _() -> tuple[World, Call]:
    return opening(with_backlog()[0])


@refusal("PerpMarket.open", errors.STALE_PRICE)
def _() -> tuple[World, Call]:
    world = World()
    world.wait(PARAMS.max_price_age + 1)
    return opening(world)


@refusal("PerpMarket.open", errors.ZERO_SIZE)
def _() -> tuple[World, Call]:
    return opening(World(), size=0)


@refusal("PerpMarket.open", errors.SIZE_TOO_LARGE)
def _() -> tuple[World, Call]:
    return opening(World(), size=MAX_SIZE + 1)


@refusal("PerpMarket.open", errors.SIZE_TOO_SMALL)
def _() -> tuple[World, Call]:
    return opening(World(), size=PARAMS.min_size - 1)


@refusal("PerpMarket.open", errors.OPEN_INTEREST_CAP)
def _() -> tuple[World, Call]:
    return opening(World(max_open_interest=wad(9), max_skew=wad(9)))


@refusal("PerpMarket.open", errors.SKEW_CAP)
def _() -> tuple[World, Call]:
    return opening(World(max_skew=wad(9)))


@refusal("PerpMarket.open", errors.RESERVE_EXCEEDED)
def _() -> tuple[World, Call]:
    return opening(World(cash=99))  # a tenth of the notional of 1000 is reserved


@refusal("PerpMarket.open", errors.PRICE_PASSED)
def _() -> tuple[World, Call]:
    return opening(World(), acceptable_price=wad(100))


@refusal("PerpMarket.open", errors.INSUFFICIENT_MARGIN)
def _() -> tuple[World, Call]:
    return opening(World(), margin=50_000_000)  # the requirement, but nothing for the fee


@refusal("PerpMarket.open", errors.TIER_EXCEEDED)
def _() -> tuple[World, Call]:
    return opening(World(**tiers((9, "0.05", "0.02"))))


@refusal("PerpMarket.open", errors.ALLOWANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world = World()
    without_allowance(world, "trader")
    return opening(world)


@refusal("PerpMarket.open", errors.BALANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world = World()
    without_balance(world, "trader")
    return opening(world)


@refusal("PerpMarket.open", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    return opening(with_refusing_token()[0])


@refusal("PerpMarket.open", errors.CREDITED_LESS)
def _() -> tuple[World, Call]:
    world = World()
    world.token.set_fee(1, sender=ROLE["owner"])
    return opening(world)


# Market: increase


def increasing(
    case: tuple[World, int],
    size: int = 10 * WAD,
    margin: int = 200_000_000,
    acceptable_price: int = MAX_UINT256,
    by: str = "trader",
) -> tuple[World, Call]:
    world, position_id = case
    arguments = (position_id, size, margin, acceptable_price)
    return world, call(world.market, "increase", *arguments, by=by)


@refusal("PerpMarket.increase", errors.AMOUNT_TOO_LARGE)
def _() -> tuple[World, Call]:
    return increasing(with_position(), margin=MAX_MARGIN + 1)


@refusal("PerpMarket.increase", errors.BACKLOG)
def _() -> tuple[World, Call]:
    return increasing(with_backlog())


@refusal("PerpMarket.increase", errors.STALE_PRICE)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    world.wait(PARAMS.max_price_age + 1)
    return increasing((world, position_id))


@refusal("PerpMarket.increase", errors.ZERO_SIZE)
def _() -> tuple[World, Call]:
    return increasing(with_position(), size=0)


@refusal("PerpMarket.increase", errors.SIZE_TOO_LARGE)
def _() -> tuple[World, Call]:
    return increasing(with_position(), size=MAX_SIZE + 1)


@refusal("PerpMarket.increase", errors.OPEN_INTEREST_CAP)
def _() -> tuple[World, Call]:
    return increasing(with_position(max_open_interest=wad(19), max_skew=wad(19)))


@refusal("PerpMarket.increase", errors.SKEW_CAP)
def _() -> tuple[World, Call]:
    return increasing(with_position(max_skew=wad(19)))


@refusal("PerpMarket.increase", errors.RESERVE_EXCEEDED)
def _() -> tuple[World, Call]:
    return increasing(with_position(cash=199))


@refusal("PerpMarket.increase", errors.PRICE_PASSED)
def _() -> tuple[World, Call]:
    return increasing(with_position(), acceptable_price=wad(100))


@refusal("PerpMarket.increase", errors.INSUFFICIENT_MARGIN)
def _() -> tuple[World, Call]:
    return increasing(with_position(), size=40 * WAD, margin=0)


@refusal("PerpMarket.increase", errors.TIER_EXCEEDED)
def _() -> tuple[World, Call]:
    return increasing(with_position(**tiers((19, "0.05", "0.02"))))


@refusal("PerpMarket.increase", errors.ALLOWANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    without_allowance(world, "trader")
    return increasing((world, position_id))


@refusal("PerpMarket.increase", errors.BALANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    without_balance(world, "trader")
    return increasing((world, position_id))


@refusal("PerpMarket.increase", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    return increasing(with_refusing_token())


@refusal("PerpMarket.increase", errors.CREDITED_LESS)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    world.token.set_fee(1, sender=ROLE["owner"])
    return increasing((world, position_id))


# Market: reduce and close


def reducing(
    case: tuple[World, int], size: int = 4 * WAD, acceptable_price: int = 0
) -> tuple[World, Call]:
    world, position_id = case
    return world, call(world.market, "reduce", position_id, size, acceptable_price, by="trader")


def closing(case: tuple[World, int], acceptable_price: int = 0) -> tuple[World, Call]:
    world, position_id = case
    return world, call(world.market, "close", position_id, acceptable_price, by="trader")


@refusal("PerpMarket.reduce", errors.ZERO_SIZE)
def _() -> tuple[World, Call]:
    return reducing(with_position(), size=0)


@refusal("PerpMarket.reduce", errors.EXCEEDS_POSITION)
def _() -> tuple[World, Call]:
    return reducing(with_position(), size=10 * WAD)


@refusal("PerpMarket.reduce", errors.SIZE_TOO_SMALL)
def _() -> tuple[World, Call]:
    return reducing(with_position(), size=10 * WAD - PARAMS.min_size + 1)


@refusal("PerpMarket.reduce", errors.STALE_PRICE)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    world.wait(PARAMS.max_price_age + 1)
    return reducing((world, position_id))


@refusal("PerpMarket.reduce", errors.LIQUIDATABLE)
def _() -> tuple[World, Call]:
    return reducing(with_liquidatable())


@refusal("PerpMarket.reduce", errors.PRICE_PASSED)
def _() -> tuple[World, Call]:
    return reducing(with_position(), acceptable_price=wad(101))


@refusal("PerpMarket.reduce", errors.INSUFFICIENT_MARGIN)
def _() -> tuple[World, Call]:
    """The fee on what is closed is more than the margin."""
    one_percent = wad("0.01")
    world = World(
        maker_fee=one_percent,
        taker_fee=one_percent,
        liquidation_penalty=wad("0.0025"),
        **tiers((1_000, "0.006", "0.005")),
    )
    position_id = world.open(LONG, 10, "16.1")
    return reducing((world, position_id), size=9 * WAD)


@refusal("PerpMarket.reduce", errors.AMOUNT_TOO_LARGE)
def _() -> tuple[World, Call]:
    """The profit would make the margin larger than a packed word holds."""
    world = World(price=1, cash=0)
    world.pool.deposit(MAX_MARGIN - 1, ROLE["lp"], sender=ROLE["lp"])
    size = RISK.max_open_interest
    position_id = world.market.open(LONG, size, MAX_MARGIN, ANY_PRICE[LONG], sender=ROLE["trader"])
    world.publish(2)
    return reducing((world, position_id), size=size // 2)


@refusal("PerpMarket.reduce", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    return reducing(with_refusing_token())


@refusal("PerpMarket.close", errors.STALE_PRICE)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    world.wait(PARAMS.max_price_age + 1)
    return closing((world, position_id))


@refusal("PerpMarket.close", errors.LIQUIDATABLE)
def _() -> tuple[World, Call]:
    return closing(with_liquidatable())


@refusal("PerpMarket.close", errors.PRICE_PASSED)
def _() -> tuple[World, Call]:
    return closing(with_position(), acceptable_price=wad(101))


@refusal("PerpMarket.close", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    return closing(with_refusing_token())


# Market: margin


def adding(case: tuple[World, int], amount: int = 1) -> tuple[World, Call]:
    world, position_id = case
    return world, call(world.market, "add_margin", position_id, amount, by="trader")


def removing(case: tuple[World, int], amount: int = 1) -> tuple[World, Call]:
    world, position_id = case
    return world, call(world.market, "remove_margin", position_id, amount, by="trader")


@refusal("PerpMarket.add_margin", errors.ZERO_AMOUNT)
def _() -> tuple[World, Call]:
    return adding(with_position(), amount=0)


@refusal("PerpMarket.add_margin", errors.AMOUNT_TOO_LARGE)
def _() -> tuple[World, Call]:
    return adding(with_position(), amount=MAX_MARGIN)  # fits alone, not with what is there


@refusal("PerpMarket.add_margin", errors.ALLOWANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    without_allowance(world, "trader")
    return adding((world, position_id))


@refusal("PerpMarket.add_margin", errors.BALANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    without_balance(world, "trader")
    return adding((world, position_id))


@refusal("PerpMarket.add_margin", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    return adding(with_refusing_token())


@refusal("PerpMarket.add_margin", errors.CREDITED_LESS)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    world.token.set_fee(100, sender=ROLE["owner"])
    return adding((world, position_id), amount=100)


@refusal("PerpMarket.remove_margin", errors.ZERO_AMOUNT)
def _() -> tuple[World, Call]:
    return removing(with_position(), amount=0)


@refusal("PerpMarket.remove_margin", errors.AMOUNT_TOO_LARGE)
def _() -> tuple[World, Call]:
    return removing(with_position(), amount=MAX_MARGIN + 1)


@refusal("PerpMarket.remove_margin", errors.INSUFFICIENT_MARGIN)
def _() -> tuple[World, Call]:
    return removing(with_position(), amount=150_000_000)


@refusal("PerpMarket.remove_margin", errors.BACKLOG)
def _() -> tuple[World, Call]:
    return removing(with_backlog())


@refusal("PerpMarket.remove_margin", errors.STALE_PRICE)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    world.wait(PARAMS.max_price_age + 1)
    return removing((world, position_id))


@refusal("PerpMarket.remove_margin", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    return removing(with_refusing_token())


# Market: whose position, and which


def own_position_arguments(name: str, position_id: int) -> tuple[int, ...]:
    return {
        "increase": (position_id, WAD, 0, MAX_UINT256),
        "reduce": (position_id, WAD, 0),
        "close": (position_id, 0),
        "add_margin": (position_id, 1),
        "remove_margin": (position_id, 1),
        "liquidate": (position_id,),
        "settle": (position_id,),
    }[name]


def _enter_identity_cases(name: str) -> None:
    if name not in ("liquidate", "settle"):

        @refusal(f"PerpMarket.{name}", errors.NOT_OWNER)
        def _() -> tuple[World, Call]:
            world, position_id = with_position()
            arguments = own_position_arguments(name, position_id)
            return world, call(world.market, name, *arguments, by="attacker")

    @refusal(f"PerpMarket.{name}", errors.NO_POSITION)
    def _() -> tuple[World, Call]:
        world, position_id = with_position()
        arguments = own_position_arguments(name, position_id + 1)
        return world, call(world.market, name, *arguments, by="trader")

    @refusal(f"PerpMarket.{name}", errors.POSITION_CLOSED)
    def _() -> tuple[World, Call]:
        world, position_id = with_position()
        world.close(position_id)
        arguments = own_position_arguments(name, position_id)
        return world, call(world.market, name, *arguments, by="trader")


for _name in ("increase", "reduce", "close", "add_margin", "remove_margin", "liquidate", "settle"):
    _enter_identity_cases(_name)


# Market: prices and liquidation


@refusal("PerpMarket.liquidate", errors.STALE_PRICE)
def _() -> tuple[World, Call]:
    world, position_id = with_liquidatable()
    world.wait(1)
    return world, call(world.market, "liquidate", position_id, by="keeper")


@refusal("PerpMarket.liquidate", errors.HEALTHY)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    return world, call(world.market, "liquidate", position_id, by="keeper")


@refusal("PerpMarket.liquidate", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    world, position_id = with_loser()
    return world, call(world.market, "liquidate", position_id, by="keeper")


@refusal("PerpMarket.update_price", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    world, _ = with_loser()
    return world, call(world.market, "update_price", ROLE["keeper"], by="keeper")


@refusal("PerpMarket.continue_backlog", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    world, _ = with_loser()
    world.market.accrue(sender=ROLE["keeper"])
    return world, call(world.market, "continue_backlog", 32, by="keeper")


@refusal("PerpMarket.update_price", errors.CONFIDENCE_TOO_WIDE)
def _() -> tuple[World, Call]:
    world = World()
    world.wait(1)
    confidence = int(11 * WAD)
    publish = world.feed.publish
    now = world.chain.timestamp
    return world, lambda: publish(100 * WAD, now, confidence, sender=ROLE["publisher"])


@refusal("PerpMarket.continue_backlog", errors.HALTED)
def _() -> tuple[World, Call]:
    world = held(World())
    return world, call(world.market, "continue_backlog", 32, by="keeper")


@refusal("PerpMarket.liquidate", errors.HALTED)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    return held(world), call(world.market, "liquidate", position_id, by="keeper")


@refusal("PerpMarket.settle", errors.NOT_EXPIRED)
def _() -> tuple[World, Call]:
    world, position_id = with_position()
    world.wait(SETTLEMENT_DELAY)
    return world, call(world.market, "settle", position_id, by="keeper")


@refusal("PerpMarket.settle", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    world, position_id = with_loser()
    world.wait(SETTLEMENT_DELAY)
    return world, call(world.market, "settle", position_id, by="keeper")


# Market: what a price that is held, a restriction and missing tokens refuse

Act = Callable[[tuple[World, int]], tuple[World, Call]]
ACTS: dict[str, Act] = {
    "open": lambda case: opening(case[0]),
    "increase": lambda case: increasing(case),
    "remove_margin": lambda case: removing(case),
    "reduce": lambda case: reducing(case),
    "close": lambda case: closing(case),
}
ADDS_RISK = ("open", "increase", "remove_margin")


def _enter_state_cases(name: str, act: Act) -> None:
    @refusal(f"PerpMarket.{name}", errors.HALTED)
    def _() -> tuple[World, Call]:
        world, position_id = with_position()
        return act((held(world), position_id))

    if name not in ADDS_RISK:
        return

    @refusal(f"PerpMarket.{name}", errors.REDUCE_ONLY)
    def _() -> tuple[World, Call]:
        world, position_id = with_position()
        return act((restricted(world), position_id))

    @refusal(f"PerpMarket.{name}", errors.BOOKS_BROKEN)
    def _() -> tuple[World, Call]:
        world, position_id = with_position(is_watched=False)
        return act((short_of_tokens(world), position_id))


for _name, _act in ACTS.items():
    _enter_state_cases(_name, _act)


# Market: ledgers


@refusal("PerpMarket.withdraw_credit", errors.NOTHING_TO_WITHDRAW)
def _() -> tuple[World, Call]:
    world, _ = with_position()
    return world, call(world.market, "withdraw_credit", by="trader")


@refusal("PerpMarket.withdraw_credit", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    world = World(token=RefusingToken)
    world.open(LONG, 10, 52)
    world.publish("96.5")
    world.token.is_refusing = True  # type: ignore[attr-defined]
    return world, call(world.market, "withdraw_credit", by="publisher")


@refusal("PerpMarket.collect_fees", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    world, _ = with_refusing_token()
    return world, call(world.market, "collect_fees", by="keeper")


def funding_insurance(world: World, amount: int = 100) -> tuple[World, Call]:
    return world, call(world.market, "fund_insurance", amount, by="trader")


@refusal("PerpMarket.fund_insurance", errors.ZERO_AMOUNT)
def _() -> tuple[World, Call]:
    return funding_insurance(World(), amount=0)


@refusal("PerpMarket.fund_insurance", errors.AMOUNT_TOO_LARGE)
def _() -> tuple[World, Call]:
    return funding_insurance(World(), amount=MAX_MARGIN + 1)


@refusal("PerpMarket.fund_insurance", errors.ALLOWANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world = World()
    without_allowance(world, "trader")
    return funding_insurance(world)


@refusal("PerpMarket.fund_insurance", errors.BALANCE_TOO_LOW)
def _() -> tuple[World, Call]:
    world = World()
    without_balance(world, "trader")
    return funding_insurance(world)


@refusal("PerpMarket.fund_insurance", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    return funding_insurance(with_refusing_token()[0])


@refusal("PerpMarket.fund_insurance", errors.CREDITED_LESS)
def _() -> tuple[World, Call]:
    world = World()
    world.token.set_fee(100, sender=ROLE["owner"])
    return funding_insurance(world)


# Pool


@refusal("LiquidityPool.pay_profit", errors.NOT_MARKET)
def _() -> tuple[World, Call]:
    world = World()
    return world, call(world.pool, "pay_profit", ROLE["trader"], 1, by="attacker")


@refusal("LiquidityPool.pay_profit", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    world, _ = with_refusing_token()
    return world, call(world.pool, "pay_profit", ROLE["trader"], 1, by=world.market.address)


@refusal("LiquidityPool.collect_loss", errors.NOT_MARKET)
def _() -> tuple[World, Call]:
    world = World()
    return world, call(world.pool, "collect_loss", 1, by="attacker")


def depositing(world: World, assets: int = 1_000_000) -> tuple[World, Call]:
    return world, call(world.pool, "deposit", assets, ROLE["lp"], by="lp")


def minting(world: World, shares: int = 1_000_000_000) -> tuple[World, Call]:
    return world, call(world.pool, "mint", shares, ROLE["lp"], by="lp")


def withdrawing(world: World, assets: int = 1_000_000) -> tuple[World, Call]:
    return world, call(world.pool, "withdraw", assets, ROLE["lp"], ROLE["lp"], by="lp")


def redeeming(world: World, shares: int = 1_000_000_000) -> tuple[World, Call]:
    return world, call(world.pool, "redeem", shares, ROLE["lp"], ROLE["lp"], by="lp")


@refusal("LiquidityPool.withdraw_claim", errors.NOTHING_TO_WITHDRAW)
def _() -> tuple[World, Call]:
    world = World()
    return world, call(world.pool, "withdraw_claim", by="trader")


@refusal("LiquidityPool.withdraw_claim", errors.TRANSFER_FAILED)
def _() -> tuple[World, Call]:
    """The pool owes the trader 900, and another has just lost something to it."""
    world = World(cash=100, token=RefusingToken, **FRICTIONLESS | {"reserve_fraction": 10**15})
    winner = world.open(LONG, 100, 2_000)
    loser = world.open(SHORT, 100, 20_000, by="other_trader")
    world.publish(110)
    world.close(winner)
    world.reduce(loser, 10, by="other_trader")
    world.token.is_refusing = True  # type: ignore[attr-defined]
    return world, call(world.pool, "withdraw_claim", by="trader")


Move = Callable[..., tuple[World, Call]]
MOVES: dict[str, Move] = {
    "deposit": depositing,
    "mint": minting,
    "withdraw": withdrawing,
    "redeem": redeeming,
}


def _enter_pool_cases(name: str, move: Move) -> None:
    @refusal(f"LiquidityPool.{name}", errors.STALE_PRICE)
    def _() -> tuple[World, Call]:
        world, _ = with_position()
        world.wait(PARAMS.max_price_age + 1)
        return move(world)

    @refusal(f"LiquidityPool.{name}", errors.BACKLOG)
    def _() -> tuple[World, Call]:
        return move(with_backlog()[0])


def _enter_pool_deposit_cases(name: str, move: Move) -> None:
    @refusal(f"LiquidityPool.{name}", errors.BOOKS_BROKEN)
    def _() -> tuple[World, Call]:
        world = World(is_watched=False)
        world.token.transfer(ROLE["keeper"], 1, sender=world.pool.address)
        return move(world)

    @refusal(f"LiquidityPool.{name}", errors.DEPOSIT_LIMIT)
    def _() -> tuple[World, Call]:
        return move(World(), MAX_UINT256 >> 130)

    @refusal(f"LiquidityPool.{name}", errors.ALLOWANCE_TOO_LOW)
    def _() -> tuple[World, Call]:
        world = World()
        without_allowance(world, "lp")
        return move(world)

    @refusal(f"LiquidityPool.{name}", errors.BALANCE_TOO_LOW)
    def _() -> tuple[World, Call]:
        world = World()
        without_balance(world, "lp")
        return move(world)

    @refusal(f"LiquidityPool.{name}", errors.TRANSFER_FAILED)
    def _() -> tuple[World, Call]:
        return move(with_refusing_token()[0])

    @refusal(f"LiquidityPool.{name}", errors.CREDITED_LESS)
    def _() -> tuple[World, Call]:
        world = World()
        world.token.set_fee(1, sender=ROLE["owner"])
        return move(world)


for _name, _move in MOVES.items():
    _enter_pool_cases(_name, _move)
for _name in ("deposit", "mint"):
    _enter_pool_deposit_cases(_name, MOVES[_name])


def with_precious_shares() -> World:
    """A share is worth thousands of token units: traders have lost to a nearly empty pool."""
    world = World(cash=0, reserve_fraction=1, **tiers((1_000_000, "0.5", "0.05")))
    world.pool.deposit(10, ROLE["lp"], sender=ROLE["lp"])
    position_id = world.open(LONG, 1000, 90_000)
    world.publish(60)
    world.close(position_id)
    assert world.pool.convertToAssets(1) > 1
    return world


@refusal("LiquidityPool.deposit", errors.ZERO_AMOUNT)
def _() -> tuple[World, Call]:
    return depositing(World(), 0)


@refusal("LiquidityPool.deposit", errors.ZERO_SHARES)
def _() -> tuple[World, Call]:
    return depositing(with_precious_shares(), 1)


@refusal("LiquidityPool.mint", errors.ZERO_SHARES)
def _() -> tuple[World, Call]:
    return minting(World(), 0)


@refusal("LiquidityPool.withdraw", errors.ZERO_AMOUNT)
def _() -> tuple[World, Call]:
    return withdrawing(World(), 0)


@refusal("LiquidityPool.withdraw", errors.WITHDRAWAL_LIMIT)
def _() -> tuple[World, Call]:
    world, _ = with_position(cash=1_000)
    return withdrawing(world, world.tokens(900) + 1)  # a tenth of the notional is reserved


@refusal("LiquidityPool.redeem", errors.WITHDRAWAL_LIMIT)
def _() -> tuple[World, Call]:
    world = World()
    return redeeming(world, world.pool.balanceOf[ROLE["lp"]] + 1)


@refusal("LiquidityPool.redeem", errors.ZERO_AMOUNT)
def _() -> tuple[World, Call]:
    return redeeming(World(), 1)  # a thousandth of a token unit


# Factory


def creating(decimals: int = 6, **changes: Any) -> tuple[World, Call]:
    world = World()
    token = TokenMock(world.chain, "0x" + "77" * 20, decimals)
    params, risk = params_of(changes)
    arguments = (token, Feed(world.chain, address(0xFEED)), "pool", "LP", params, risk)
    return world, call(world.factory, "create_market", *arguments, by="owner")


@refusal("MarketFactory.create_market", errors.BAD_TOKEN)
def _() -> tuple[World, Call]:
    return creating(decimals=19)


@refusal("MarketFactory.create_market", errors.BAD_LIMITS)
def _() -> tuple[World, Call]:
    return creating(min_size=0)


@refusal("MarketFactory.create_market", errors.BAD_RATES)
def _() -> tuple[World, Call]:
    return creating(keeper_share=WAD + 1)


@refusal("MarketFactory.create_market", errors.BAD_AGE)
def _() -> tuple[World, Call]:
    return creating(max_price_age=0)


@refusal("MarketFactory.create_market", errors.BAD_TIERS)
def _() -> tuple[World, Call]:
    return creating(**tiers((10, "0.05", "0.05")))


@refusal("MarketFactory.create_market", errors.BAD_SKEW_SCALE)
def _() -> tuple[World, Call]:
    return creating(skew_scale=RISK.max_open_interest)


@refusal("MarketFactory.create_market", errors.BAD_VOLATILITY)
def _() -> tuple[World, Call]:
    return creating(volatility_window=0)


@refusal("MarketFactory.create_market", errors.BAD_CROWDING)
def _() -> tuple[World, Call]:
    return creating(crowding_lower=WAD)


@refusal("MarketFactory.create_market", errors.BAD_BREAKERS)
def _() -> tuple[World, Call]:
    return creating(max_jump=0)


@refusal("MarketFactory.create_market", errors.BAD_LOSS_LIMITS)
def _() -> tuple[World, Call]:
    return creating(max_profit_share=0)


@refusal("MarketFactory.create_market", errors.BAD_UNITS)
def _() -> tuple[World, Call]:
    return creating(taker_fee=RISK.taker_fee + 1)


# Engine


ENGINE_CALLS: dict[str, tuple[Any, ...]] = {
    "observe_price": (100 * WAD, 0, 2 * 10**9, 0, 0),
    "record_update": (0, 0, Account(0, 0, 0)),
    "choose_deleveraged": (100 * WAD, [0, 0], 1, 0, 0, 32),
    "cover_shortfall": (1, 1),
}


def _enter_engine_case(name: str, arguments: tuple[Any, ...]) -> None:
    @refusal(f"RiskEngine.{name}", errors.NOT_MARKET)
    def _() -> tuple[World, Call]:
        world = World()
        return world, call(world.engine, name, *arguments, by="configurator")


for _name, _arguments in ENGINE_CALLS.items():
    _enter_engine_case(_name, _arguments)


@refusal("RiskEngine.observe_price", errors.CONFIDENCE_TOO_WIDE)
def _() -> tuple[World, Call]:
    world = World()
    arguments = (100 * WAD, 11 * WAD, world.chain.timestamp + 1, 100 * WAD, world.chain.timestamp)
    return world, call(world.engine, "observe_price", *arguments, by=world.market.address)


@refusal("RiskEngine.set_params", errors.NOT_CONFIGURATOR)
def _() -> tuple[World, Call]:
    world = World()
    return world, call(world.engine, "set_params", RISK, by="owner")


@refusal("RiskEngine.set_params", errors.BAD_TIERS)
def _() -> tuple[World, Call]:
    """On the way down the old maintenance still holds, so the new initial one must be above it."""
    world = World()
    risk = RISK._replace(initial_fractions=(2 * 10**16,) * 4, maintenance_fractions=(10**16,) * 4)
    return world, call(world.engine, "set_params", risk, by="configurator")


@refusal("RiskEngine.restrict", errors.NOT_CONFIGURATOR)
def _() -> tuple[World, Call]:
    world = World()
    return world, call(world.engine, "restrict", 2 * 10**9, by="guardian")


# Re-entry: the token calls back in the middle of a transfer


def market_calls(world: World) -> dict[str, Call]:
    """Every function of the market that changes state, with arguments that do not matter."""
    market, attacker = world.market, ROLE["attacker"]
    return {
        "open": lambda: market.open(LONG, WAD, 10_000_000, MAX_UINT256, sender=attacker),
        "increase": lambda: market.increase(1, WAD, 0, MAX_UINT256, sender=attacker),
        "reduce": lambda: market.reduce(1, WAD, 0, sender=attacker),
        "close": lambda: market.close(1, 0, sender=attacker),
        "add_margin": lambda: market.add_margin(1, 1, sender=attacker),
        "remove_margin": lambda: market.remove_margin(1, 1, sender=attacker),
        "update_price": lambda: market.update_price(attacker, sender=attacker),
        "continue_backlog": lambda: market.continue_backlog(1, sender=attacker),
        "liquidate": lambda: market.liquidate(1, sender=attacker),
        "settle": lambda: market.settle(1, sender=attacker),
        "accrue": lambda: market.accrue(sender=attacker),
        "withdraw_credit": lambda: market.withdraw_credit(sender=attacker),
        "collect_fees": lambda: market.collect_fees(sender=attacker),
        "fund_insurance": lambda: market.fund_insurance(1, sender=attacker),
    }


def pool_calls(world: World) -> dict[str, Call]:
    pool, attacker = world.pool, ROLE["attacker"]
    return {
        "pay_profit": lambda: pool.pay_profit(attacker, 1, sender=world.market.address),
        "collect_loss": lambda: pool.collect_loss(1, sender=world.market.address),
        "deposit": lambda: pool.deposit(1_000, attacker, sender=attacker),
        "mint": lambda: pool.mint(1_000, attacker, sender=attacker),
        "withdraw": lambda: pool.withdraw(1, attacker, attacker, sender=attacker),
        "redeem": lambda: pool.redeem(1_000, attacker, attacker, sender=attacker),
        "withdraw_claim": lambda: pool.withdraw_claim(sender=attacker),
    }


def _enter_market_reentry(name: str) -> None:
    @refusal(f"PerpMarket.{name}", errors.REENTRANT_CALL)
    def _() -> tuple[World, Call]:
        world, position_id = with_position()
        world.token.set_hook(market_calls(world)[name], sender=ROLE["attacker"])
        return adding((world, position_id))


def _enter_pool_reentry(name: str) -> None:
    @refusal(f"LiquidityPool.{name}", errors.REENTRANT_CALL)
    def _() -> tuple[World, Call]:
        world = World()
        world.token.set_hook(pool_calls(world)[name], sender=ROLE["attacker"])
        return depositing(world)


for _name in market_calls(World()):
    _enter_market_reentry(_name)
for _name in pool_calls(World()):
    _enter_pool_reentry(_name)
