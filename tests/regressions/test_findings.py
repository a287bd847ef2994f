"""Attacks that once worked, against the model: the parameters that allowed them are refused, and
with the most generous ones the factory accepts they do not pay.

The bounds they led to are derived in docs/spec.md, sections 6, 9 and 15.
"""

from collections.abc import Callable
from fractions import Fraction

import pytest
from market_world import (
    ANY_PRICE,
    FRICTIONLESS,
    FUNDS,
    PARAMS,
    RISK,
    ROLE,
    Number,
    World,
    reason_of,
    tiers,
    wad,
)

from lockstep.edges import find_edge, smallest_accepted
from python_model.evm import Revert
from python_model.modules import errors, trigger_key
from python_model.modules.constants import LONG, MAX_VISITS, MIN_NOTIONAL, SHORT, TIERS, WAD
from python_model.signed_price_feed import MAX_DELAY, Header, Report, SignedPriceFeed

LARGEST = 1_000  # open interest of a side
SIDES = pytest.mark.parametrize("side", [LONG, SHORT])
SIZES = pytest.mark.parametrize("size", [1, 250, 500, LARGEST])
FEES = pytest.mark.parametrize("fee", ["0", "0.0001", "0.001"])
KEEPER_SHARES = pytest.mark.parametrize("keeper_share", ["0", "0.1", "0.5", "0.9"])


def generous(fee: Number = 0, keeper_share: Number = 0, skew_scale: int = 0) -> World:
    """A market in which impact is as large as the factory admits: the penalty is half of the
    maintenance requirement, the scale the least that goes with it."""
    kept = wad("0.025") * (WAD - wad(keeper_share))
    return World(
        max_open_interest=wad(LARGEST),
        max_skew=wad(LARGEST),
        skew_scale=skew_scale or -(-wad(LARGEST) * WAD * WAD // kept),
        max_funding_rate=0,
        max_utilisation_rate=0,
        maker_fee=0,
        taker_fee=wad(fee),
        liquidation_penalty=wad("0.025"),
        keeper_share=wad(keeper_share),
        **tiers((LARGEST, "0.051", "0.05")),
    )


def accepts(world: World, call: Callable[[], object]) -> bool:
    """Whether the market would accept a call, which is then undone."""
    try:
        world.chain.probe(call)
    except Revert:
        return False
    return True


def open_thin(world: World, side: int, size: int) -> int:
    """The attacker opens with the least margin the market takes; size in WAD."""

    def opens(margin: int) -> bool:
        return accepts(world, lambda: attempt(margin))

    def attempt(margin: int) -> int:
        worst, attacker = ANY_PRICE[side], ROLE["attacker"]
        return world.market.open(side, size, margin, worst, sender=attacker)

    margin = smallest_accepted(opens, 1, 2**80)
    assert margin is not None
    return attempt(margin)


def open_thick(world: World, side: int, size: Number) -> int:
    """The attacker opens with margin for every price to come."""
    return world.open(side, size, 10**7, by="attacker")


# F1: an exit cut at the margin left the impact beyond it to the pool


def test_a_scale_that_lets_impact_exceed_the_margin_is_refused() -> None:
    reason = reason_of(
        World,
        max_open_interest=wad(500_000),
        max_skew=wad(100_000),
        skew_scale=wad(1_000_000),
        **tiers((500_000, "0.05", "0.025")),
    )
    assert reason == errors.BAD_SKEW_SCALE


@KEEPER_SHARES
def test_a_scale_one_below_the_bound_is_refused(keeper_share: str) -> None:
    least = generous(keeper_share=keeper_share).engine.PARAMS.skew_scale
    reason = reason_of(generous, keeper_share=keeper_share, skew_scale=least - 1)
    assert reason == errors.BAD_SKEW_SCALE


@SIDES
@SIZES
@FEES
def test_closing_a_thin_leg_into_own_skew_does_not_pay(side: int, size: int, fee: str) -> None:
    world = generous(fee)
    cash = world.pool.cash()
    thin = open_thin(world, side, wad(size))
    thick = open_thick(world, 1 - side, LARGEST)
    world.close(thin, by="attacker")
    world.close(thick, by="attacker")
    assert world.balance("attacker") <= FUNDS
    assert world.pool.cash() >= cash


@SIDES
def test_trading_around_a_thin_leg_does_not_pay(side: int) -> None:
    world = generous()
    cash = world.pool.cash()
    thin = open_thin(world, side, wad(250))
    thick = open_thick(world, 1 - side, LARGEST)
    for _ in range(3):
        world.reduce(thick, 200, by="attacker")
        world.close(open_thin(world, side, wad(1)), by="attacker")
    world.close(thin, by="attacker")
    world.close(thick, by="attacker")
    assert world.balance("attacker") <= FUNDS
    assert world.pool.cash() >= cash


# F2: a liquidation moved the skew without paying for it, and the other leg collected


def test_a_scale_bound_to_maintenance_alone_is_refused() -> None:
    reason = reason_of(
        World,
        max_open_interest=wad(1_000),
        max_skew=wad(1_000),
        skew_scale=wad(40_000),
        liquidation_penalty=wad("0.005"),
        keeper_share=wad("0.5"),
        **tiers((1_000, "0.05", "0.025")),
    )
    assert reason == errors.BAD_SKEW_SCALE


def publish_trigger(world: World, position_id: int) -> None:
    """The first price at which a position is liquidatable."""
    market = world.market
    position, marks = world.position(position_id), market._accrued()

    def liquidatable(price: int) -> bool:
        marks.price = price
        return market._is_liquidatable(position, marks)

    edge = find_edge(liquidatable, wad(50), wad(200))
    assert edge is not None
    first = edge[0] if liquidatable(edge[0]) else edge[1]
    assert world.publish(Fraction(first, WAD)) > 0


@SIDES
@SIZES
@FEES
@KEEPER_SHARES
@pytest.mark.parametrize("crowd", [0, LARGEST // 2])
def test_being_liquidated_on_one_of_two_legs_does_not_pay(
    side: int, size: int, fee: str, keeper_share: str, crowd: int
) -> None:
    world = generous(fee, keeper_share)
    if crowd:
        # Others lean to the other side: each unit liquidated moves more.
        world.open(1 - side, crowd, 10**7, by="other_trader")
    size = min(size, LARGEST - crowd)
    thin = open_thin(world, side, wad(size))
    thick = open_thick(world, 1 - side, size)
    publish_trigger(world, thin)
    world.close(thick, by="attacker")
    if world.is_open(thin):
        world.close(thin, by="attacker")
    if world.market.credit_of[ROLE["attacker"]]:
        world.market.withdraw_credit(sender=ROLE["attacker"])
    # The publisher may be the attacker's friend.
    rewards = world.market.credit_of[ROLE["publisher"]]
    assert world.balance("attacker") + rewards <= FUNDS


# F3: dust in many due buckets used up the visits of every call

DUST_PARAMS = FRICTIONLESS | {"min_size": 1, "max_utilisation_rate": 10**11}


def smallest_size(world: World) -> int:
    """Least size that is worth MIN_NOTIONAL, rounded up, WAD."""
    return (MIN_NOTIONAL - 1) * world.market.NOTIONAL_SCALE // world.market.marks().price + 1


def test_the_smallest_size_worth_the_minimum_can_be_opened() -> None:
    world = World(**DUST_PARAMS)
    assert world.position(open_thin(world, LONG, smallest_size(world))).size > 0


@SIDES
def test_dust_cannot_be_opened(side: int) -> None:
    world = World(**DUST_PARAMS)
    size = smallest_size(world) - 1
    call = world.market.open
    reason = reason_of(call, side, size, 10**6, ANY_PRICE[side], sender=ROLE["attacker"])
    assert reason == errors.SIZE_TOO_SMALL


def test_a_reduction_cannot_leave_dust() -> None:
    world = World(**DUST_PARAMS)
    least = smallest_size(world)
    position_id = world.open(LONG, 1, 50)
    call = world.market.reduce
    reason = reason_of(call, position_id, wad(1) - least + 1, 0, sender=ROLE["trader"])
    assert reason == errors.SIZE_TOO_SMALL


def test_a_partial_liquidation_leaves_no_dust() -> None:
    world = World(**DUST_PARAMS)
    position_id = open_thin(world, LONG, smallest_size(world))
    publish_trigger(world, position_id)
    assert not world.is_open(position_id)


def healthy_due_rings(world: World, ids: list[int]) -> set[int]:
    """Rings that a sweep now has to visit though they hold no liquidatable position."""
    market = world.market
    marks = market._accrued()
    rings: set[int] = set()
    bad: set[int] = set()
    for position_id in ids:
        position = world.position(position_id)
        fraction = world.engine.params().maintenance_fractions[position.tier]
        funding = marks.funding[position.side]
        threshold = trigger_key._threshold(position.side, marks.price, fraction, funding)
        ring = market._ring_of(position)
        if trigger_key._highest_key(ring & 2**24 - 1) > threshold:
            (bad if market._is_liquidatable(position, marks) else rings).add(ring)
    return rings - bad


def test_positions_behind_as_many_due_rings_as_can_be_are_reached() -> None:
    # Tiers so narrow that the smallest positions fit into all eight lists.
    price = 96  # at which a bucket ends within the blur of four lists
    least = (MIN_NOTIONAL - 1) * 10**30 // wad(price) + 1
    bases = [least, least * 102 // 100, least * 104 // 100, least * 106 // 100]
    tops = [Fraction(base * 101 // 100, WAD) for base in bases[:3]]
    rows = [(top, "0.02", "0.01") for top in (*tops, 100_000)]
    penalty = wad("0.005")
    narrow = {**tiers(*rows), "reserve_fraction": WAD, "liquidation_penalty": penalty}
    world = World(price=price, **DUST_PARAMS | narrow)
    world.open(LONG, 10_406, 10**7, by="other_trader")  # nearly the highest utilisation fee
    victim = world.open(SHORT, 1, "1.920002")
    dust = []
    for side in (LONG, SHORT):
        for base in bases:
            # Equal margins, sizes a fraction of a token unit of requirement apart.
            sizes = [base + base * i // (16 * 5_000) for i in range(16)]
            margin = MIN_NOTIONAL * base // least // 50 + 3
            for size in sizes:
                worst, attacker = ANY_PRICE[side], ROLE["attacker"]
                dust.append(world.market.open(side, size, margin, worst, sender=attacker))
    assert {world.position(i).tier for i in dust} == set(range(TIERS))

    # The fee runs all of them down together; stop at the second with most rings in the way.
    start = world.chain.timestamp

    def in_the_way(second: int) -> int:
        world.chain.timestamp = start + second
        return len(healthy_due_rings(world, dust)) if world.is_liquidatable(victim) else 0

    moment = max(range(100_080, 100_140), key=in_the_way)
    rings = in_the_way(moment)
    assert 8 < rings <= 16

    world.publish(price, after=0)
    calls = 0
    while world.is_liquidatable(victim):
        calls += 1
        assert calls <= 2 * len(dust) // MAX_VISITS + 1
        world.market.continue_backlog(MAX_VISITS, sender=ROLE["keeper"])
    assert calls > 0
    assert not world.market.totals().has_backlog
    assert len(healthy_due_rings(world, [i for i in dust if world.is_open(i)])) == rings


# F9: a report from long ago could liquidate


def signed_feed() -> tuple[World, SignedPriceFeed]:
    """A feed of one publisher with a market of its own, a while after the start."""
    world = World()
    feed_id, publishers = b"x" * 32, [ROLE["publisher"]]
    roles = (ROLE["factory"], ROLE["configurator"])
    feed = SignedPriceFeed(world.chain, f"0x{0xFE:040x}", *roles, feed_id, 18, publishers, 1)
    world.factory.create_market(world.token, feed, "pool", "LP", PARAMS, RISK, sender=ROLE["owner"])
    world.wait(1_000)
    return world, feed


def publish_signed(world: World, feed: SignedPriceFeed, price: int, price_time: int) -> int:
    """Brings the publisher's own report."""
    chain = world.chain
    message = (chain.chain_id, feed.address, feed.FEED_ID, 18, price, 1, price_time)
    chain.register_signature(message, price_time, 1, ROLE["publisher"])
    header = Header(chain.chain_id, feed.FEED_ID, 18, price_time)
    return feed.publish(header, [Report(price, 1, price_time, 1)], sender=ROLE["keeper"])


def test_a_report_older_than_the_greatest_delay_is_refused() -> None:
    world, feed = signed_feed()
    old = world.chain.timestamp - MAX_DELAY - 1
    assert reason_of(publish_signed, world, feed, wad(50), old) == errors.STALE_PRICE


def test_a_report_of_the_greatest_delay_is_taken() -> None:
    world, feed = signed_feed()
    price_time = world.chain.timestamp - MAX_DELAY
    publish_signed(world, feed, wad(101), price_time)
    market = feed.market()
    assert market is not None
    assert market.marks().price_time == price_time


# F10: the largest redemption was refused when its shares were worth less than a unit


def with_shares(shares: int) -> World:
    """A world in which the other provider has so many shares of a pool at par."""
    world = World()
    world.pool.transfer(ROLE["other_lp"], shares, sender=ROLE["lp"])
    return world


def test_shares_worth_less_than_a_unit_cannot_be_redeemed() -> None:
    assert with_shares(999).pool.maxRedeem(ROLE["other_lp"]) == 0


@pytest.mark.parametrize("shares", [1_000, 1_001, 10**9 + 7])
def test_the_largest_redemption_is_accepted(shares: int) -> None:
    pool, provider = (world := with_shares(shares)).pool, ROLE["other_lp"]
    most = pool.maxRedeem(provider)
    assert pool.redeem(most, provider, provider, sender=provider) == shares // 1_000
    assert world.balance("other_lp") == FUNDS + shares // 1_000
