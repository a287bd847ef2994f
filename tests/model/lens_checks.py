"""What the lens says before something happens, held against what then happened."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from python_model.evm import Revert
from python_model.market_lens import MASK_24, Closing, Holding, MarketLens, Trade
from python_model.modules import constants, errors, margin_math, trigger_key, trigger_price
from python_model.perp_market import PerpMarket, Position

OF_OWNER = ("increase", "reduce", "close", "add_margin", "remove_margin")
OF_ANYONE = ("liquidate", "settle")
PREVIEWED = ("open", *OF_OWNER, *OF_ANYONE)
# What only the token knows when it is asked.
TOKEN_REASONS = (
    errors.ALLOWANCE_TOO_LOW,
    errors.BALANCE_TOO_LOW,
    errors.CREDITED_LESS,
    errors.TRANSFER_FAILED,
)


class Ledgers(NamedTuple):
    """What belongs to a caller and to the owner of the position, outside of positions."""

    balance: int
    credit: int
    owners_credit: int
    owners_claim: int


class Said(NamedTuple):
    """A preview: what it told or why it refused, and the ledgers at that time."""

    action: str
    caller: str
    args: tuple[int, ...]
    told: Trade | Closing | None
    reason: str
    owner: str
    before: Ledgers


def preview(
    lens: MarketLens, market: PerpMarket, action: str, caller: str, args: Sequence[int]
) -> Trade | Closing:
    """Asks the model's lens."""
    callers = (caller,) if action in OF_OWNER else ()
    told: Trade | Closing = getattr(lens, f"preview_{action}")(market, *callers, *args)
    return told


def ask(
    lens: MarketLens, market: PerpMarket, action: str, caller: str, args: Sequence[int]
) -> Said:
    """What the lens says about an action that is about to happen."""
    owner = caller
    if action in OF_ANYONE:
        stored = market._positions[args[0]]
        owner = stored.owner if stored else caller
    told, reason = None, ""
    try:
        told = preview(lens, market, action, caller, args)
    except Revert as revert:
        reason = revert.reason
    return Said(action, caller, tuple(args), told, reason, owner, ledgers(market, caller, owner))


def ledgers(market: PerpMarket, caller: str, owner: str) -> Ledgers:
    return Ledgers(
        market.token.balanceOf[caller],
        market.credit_of[caller],
        market.credit_of[owner],
        market.pool.claim_of[owner],
    )


def assert_true(
    said: Said, lens: MarketLens, market: PerpMarket, refused: str | None, value: Any
) -> None:
    """The action did what the preview told, or was refused for the reason it gave."""
    told = said.told
    if told is None:
        assert refused == said.reason, (said, refused)
        return
    if refused is not None:
        assert refused in TOKEN_REASONS or (not refused and _is_short(market)), (said, refused)
        return
    if isinstance(told, Trade):
        _assert_trade(said, told, lens, market, value)
    else:
        _assert_closing(said, told, lens, market)


def _is_short(market: PerpMarket) -> bool:
    """Whether market or pool hold fewer tokens than their books say."""
    totals, balances = market.totals(), market.token.balanceOf
    booked = totals.margin + totals.insurance + totals.fees + totals.credits
    return balances[market.address] < booked or balances[market.pool.address] < market.pool.cash()


def _event(market: PerpMarket, name: str) -> tuple[Any, ...]:
    (fields,) = [event.fields for event in market.chain.events if event.name == name]
    return fields


def _assert_trade(
    said: Said, told: Trade, lens: MarketLens, market: PerpMarket, value: Any
) -> None:
    action, args = said.action, said.args
    added = 0
    if action == "open":
        assert value == told.position_id
        added = args[2]
    else:
        assert told.position_id == args[0]
    if action in ("open", "increase"):
        added = args[2]
        size = args[1]
        assert _event(market, "PositionIncreased") == (
            told.position_id,
            said.caller,
            size,
            added,
            told.fill_price,
            told.fee,
        )
        assert told.value == told.claim == told.payout == 0
    elif action in ("reduce", "close"):
        name = "PositionReduced" if action == "reduce" else "PositionClosed"
        fields = _event(market, name)
        assert fields[:2] == (told.position_id, said.caller)
        seen = (*fields[3:], 0) if action == "reduce" else fields[3:]
        assert seen == (told.fill_price, told.value, told.fee, told.claim, told.payout)
        assert value == (told.payout if action == "close" else None)
    else:
        added = args[1] if action == "add_margin" else 0
        taken = args[1] if action == "remove_margin" else 0
        assert told[1:6] == (0, 0, 0, 0, taken)
    now = ledgers(market, said.caller, said.caller)
    before = said.before
    assert now.balance == before.balance + told.payout - added
    assert now.credit == before.credit
    assert now.owners_claim == before.owners_claim + told.claim
    _assert_holding(told.position_id, told.holding, lens, market)


def _assert_closing(said: Said, told: Closing, lens: MarketLens, market: PerpMarket) -> None:
    (position_id,) = said.args
    if said.action == "liquidate":
        fields = _event(market, "PositionLiquidated")
        assert fields[2:8] == (
            told.size,
            told.price,
            told.value,
            told.penalty,
            told.reward,
            told.returned,
        )
        assert fields[8:] == (told.insurance_used, told.bad_debt)
    else:
        fields = _event(market, "PositionSettled")
        assert fields[2:7] == (told.size, told.price, told.value, told.claim, told.returned)
        assert fields[7:] == (told.insurance_used, told.bad_debt, False)
        assert told.penalty == told.reward == 0
    assert fields[:2] == (position_id, said.owner)
    now, before = ledgers(market, said.caller, said.owner), said.before
    both = told.returned + told.reward
    is_owner = said.caller == said.owner
    assert now.owners_credit == before.owners_credit + (both if is_owner else told.returned)
    assert now.credit == before.credit + (both if is_owner else told.reward)
    assert now.owners_claim == before.owners_claim + told.claim
    assert now.balance == before.balance
    _assert_holding(position_id, told.holding, lens, market)


def _assert_holding(
    position_id: int, holding: Holding, lens: MarketLens, market: PerpMarket
) -> None:
    if holding.size == 0:
        assert holding == Holding()
        assert market._positions[position_id] is None
        return
    stored = market.position(position_id)
    fields = (stored.tier, stored.size, stored.margin, stored.entry_price, stored.entry_funding)
    assert holding == (*fields, lens.liquidation_price(market, position_id))


# Lists


def assert_lists(lens: MarketLens, market: PerpMarket, live: Sequence[int]) -> None:
    """The lists hold what a look at every open position finds."""
    marks = market.marks()
    positions = {position_id: market.position(position_id) for position_id in live}
    unseen = {i for i, position in positions.items() if position.epoch != marks.epoch}
    due = {i for i in unseen if market._is_liquidatable(positions[i], marks)}
    listed = lens.next_to_liquidate(market, 64)
    assert len(listed) == len(set(listed))
    # A ring is left at the first position that was seen at these marks, as the sweep leaves it.
    assert set(listed) <= due
    if len(due) <= 32 and len(unseen) == len(live):
        assert set(listed) == due
    assert lens.next_to_liquidate(market, 2) == listed[:2]

    nearest = lens.nearest_to_liquidation(market, 64)
    assert len(nearest) == len(set(nearest)) == min(64, len(live))
    distances = [_ring_distance(lens, market, positions[i]) for i in nearest]
    assert distances == sorted(distances)
    others = [_ring_distance(lens, market, positions[i]) for i in set(live) - set(nearest)]
    assert not others or max(distances) <= min(others)

    winning = lens.next_to_deleverage(market, 64)
    assert len(winning) == len(set(winning))
    gains = {
        i for i in unseen if market._value(positions[i], positions[i].size, marks.price, marks) > 0
    }
    assert set(winning) <= gains
    if len(gains) <= 64 and len(live) <= 256 and len(unseen) == len(live):
        assert set(winning) == gains
    per_unit = [_ring_equity(market, positions[i]) for i in winning]
    assert per_unit == sorted(per_unit, reverse=True)


def _ring_distance(lens: MarketLens, market: PerpMarket, position: Position) -> int:
    marks, side = market.marks(), position.side
    met = trigger_price._meeting_price(
        side,
        trigger_key._highest_key(market._ring_of(position) & MASK_24),
        marks.funding[side],
        marks.terms.maintenance_fractions[position.tier],
    )
    return lens._distance(side, marks.price, met)


def _ring_equity(market: PerpMarket, position: Position) -> int:
    marks, side = market.marks(), position.side
    marked = margin_math._marked_value(side, 1, marks.price, marks.funding[side])
    return marked - trigger_key._highest_key(market._ring_of(position) & MASK_24)


# Prices of liquidation


def is_liquidatable_at(market: PerpMarket, position: Position, price: int) -> bool:
    """The market's own rule at another price."""
    marks = market.marks()
    marks.price = price
    return market._is_liquidatable(position, marks)


def assert_liquidation_price(
    lens: MarketLens, market: PerpMarket, position_id: int, prices: Sequence[int]
) -> None:
    """Liquidatable there, and at none of `prices` that are better for the position."""
    position = market.position(position_id)
    found = lens.liquidation_price(market, position_id)
    possible = [price for price in prices if 0 < price <= constants.MAX_PRICE]
    if position.side == constants.LONG:
        better = [price for price in possible if price > found]
        exists = found != trigger_price.NO_LONG_PRICE
    else:
        better = [price for price in possible if price < found]
        exists = found != trigger_price.NO_SHORT_PRICE
    assert not exists or is_liquidatable_at(market, position, found)
    assert not any(is_liquidatable_at(market, position, price) for price in better)
