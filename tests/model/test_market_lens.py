"""The lens on the model: exact prices of liquidation, previews that come true, lists in order."""

import random
from collections import Counter
from typing import Any

import pytest
from lens_checks import (
    OF_OWNER,
    PREVIEWED,
    ask,
    assert_liquidation_price,
    assert_lists,
    assert_true,
    is_liquidatable_at,
)
from market_world import ANY_PRICE, FRICTIONLESS, ROLE, World, address, reason_of, wad

from python_model.evm import MAX_UINT256, Revert
from python_model.market_lens import MAX_LISTED, MarketLens
from python_model.modules import errors, margin_math, trigger_key, trigger_price
from python_model.modules.constants import FRACTION_UNIT, LONG, MAX_MARGIN, MAX_PRICE, SHORT, WAD

NEVER = 2**256 - 1
TRADERS = ("trader", "other_trader", "third_trader")


def lens_of(world: World) -> MarketLens:
    return MarketLens(world.chain, address(0xC0))


# Prices of liquidation, by brute force


def is_due(case: tuple[int, ...], price: int) -> bool:
    side, size, margin, entry_price, entry_funding, funding, fraction, scale = case
    value = margin_math._position_value(
        side, size, entry_price, entry_funding, price, funding, scale * 10**9
    )
    requirement = margin_math._fraction_of_notional_up(size, price, fraction, scale)
    return margin + value < requirement


def small_case(rng: random.Random) -> tuple[int, ...]:
    """A position whose prices are small numbers, with many or few of them to a token unit."""
    scale = 10 ** rng.choice((18, 19, 20, 21))
    size = rng.choice((1, 10 ** rng.randint(15, 21))) * rng.randint(1, 999)
    entry_price = rng.randint(1, 2_000)
    most = int(size * entry_price / scale * rng.choice((0.05, 0.3, 1.2)))
    margin = rng.randint(1, max(1, most))
    units = rng.choice((10**5, 5 * 10**5, 9 * 10**6, 98 * 10**5))
    fraction = rng.randint(1, units) * FRACTION_UNIT
    indices = (rng.randint(-(10**11), 10**11), rng.randint(-(10**11), 10**11))
    return rng.randint(0, 1), size, margin, entry_price, *indices, fraction, scale


def test_first_price_is_the_first_of_all_prices() -> None:
    rng = random.Random(1)
    found = Counter[str]()
    for _ in range(1_500):
        case = small_case(rng)
        side, size, margin, entry_price, entry_funding, funding, fraction, scale = case
        key = trigger_key._trigger_key(
            side, size, margin, entry_price, entry_funding, scale * 10**9
        )
        # Nothing is due beyond the key's own price; some way past it, to be sure.
        most = trigger_price._meeting_price(side, key + 1, funding, fraction) + 1_000
        if most > 20_000:
            continue
        first = trigger_price._first_price(*case)
        prices = range(most, 0, -1) if side == LONG else range(1, most + 1)
        expected = next((price for price in prices if is_due(case, price)), None)
        if expected is None:
            assert first == 0 if side == LONG else first > most
            found["none"] += 1
        else:
            assert first == expected
            found["long" if side == LONG else "short"] += 1
    assert min(found["long"], found["short"]) > 400, found
    assert found["none"] > 10, found


def test_first_price_asks_few_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAX_STEPS is never reached: three prices for a short, 1 / (1 - fraction) + 2 for a long."""
    asked = Counter[int]()
    position_value = margin_math._position_value

    def counted(*case: int) -> int:
        asked[case[0]] += 1
        return position_value(*case)

    monkeypatch.setattr(margin_math, "_position_value", counted)
    rng = random.Random(7)
    most = Counter[tuple[int, int]]()
    for number in range(6_000):
        case = small_case(rng) if number % 2 else large_case(rng)
        side, fraction = case[0], case[6]
        asked.clear()
        trigger_price._first_price(*case)
        bound = 3 if side == SHORT else WAD // (WAD - fraction) + 2
        assert asked[side] <= bound <= trigger_price.MAX_STEPS
        key = side, bound
        most[key] = max(most[key], asked[side])
    assert most[SHORT, 3] == 3
    assert max(count for (side, _), count in most.items() if side == LONG) > 30


def large_case(rng: random.Random) -> tuple[int, ...]:
    """A position as a market may hold it."""
    while True:
        scale = 10 ** (36 - rng.choice((0, 6, 18)))
        size, entry_price = int(10 ** rng.uniform(12, 30)), int(10 ** rng.uniform(14, 25))
        notional = margin_math._fraction_of_notional_up(size, entry_price, WAD, scale)
        if 2**18 <= notional <= MAX_MARGIN:
            break
    fraction = rng.choice((wad("0.01"), wad("0.5"), wad("0.9"), wad("0.99")))
    margin = rng.randint(1, notional)
    return rng.randint(0, 1), size, margin, entry_price, 0, 0, fraction, scale


# Prices of liquidation, in a market


@pytest.mark.parametrize("decimals", [6, 18])
@pytest.mark.parametrize(("side", "price"), [(LONG, 95), (SHORT, 105)])
def test_liquidation_price_liquidates_and_the_one_before_does_not(
    side: int, price: int, decimals: int
) -> None:
    world = World(decimals, **FRICTIONLESS)
    lens = lens_of(world)
    position_id = world.open(side, "3.7", "23.4567")
    world.publish(price)
    found = lens.liquidation_price(world.market, position_id)
    better = found + 1 if side == LONG else found - 1
    world.wait(1)
    assert world.publish_wad(better) == 0
    assert not world.is_liquidatable(position_id)
    assert lens.health(world.market, position_id).is_liquidatable is False
    world.wait(1)
    assert lens.liquidation_price(world.market, position_id) == found
    assert world.publish_wad(found) == 1


def test_liquidation_price_follows_funding() -> None:
    world = World(max_funding_rate=10**15, max_price_age=86_400)
    lens = lens_of(world)
    position_id = world.open(LONG, 10_000, 150_000)
    assert world.position(position_id).tier == 1
    before = lens.liquidation_price(world.market, position_id)
    world.wait(40_000)
    after = lens.liquidation_price(world.market, position_id)
    assert after > before
    assert is_liquidatable_at(world.market, world.position(position_id), after)
    assert not is_liquidatable_at(world.market, world.position(position_id), after + 10**10)


def test_no_price_liquidates_a_long_whose_margin_is_the_whole_price() -> None:
    world = World(**FRICTIONLESS)
    lens = lens_of(world)
    position_id = world.open(LONG, 10, 1_100)
    assert lens.liquidation_price(world.market, position_id) == 0
    assert lens.liquidation_distance(world.market, position_id) == WAD
    assert not is_liquidatable_at(world.market, world.position(position_id), 1)


def test_no_price_liquidates_a_short_whose_margin_exceeds_every_loss() -> None:
    case = (SHORT, 10**18, MAX_MARGIN, wad(100), 0, 0, wad("0.02"), 10**36)
    assert trigger_price._first_price(*case) == NEVER
    assert not is_due(case, MAX_PRICE)
    world = World()
    assert lens_of(world)._distance(SHORT, wad(100), NEVER) == 2**255 - 1


def test_distance_and_leverage_of_round_figures() -> None:
    world = World(**FRICTIONLESS)
    lens = lens_of(world)
    position_id = world.open_at_mark(LONG, 10, 100)
    health = lens.health(world.market, position_id)
    # 1,000 of notional on 100: a price of 90 / 0.98 leaves 2 % of it.
    assert health.effective_leverage == 10 * WAD
    assert abs(health.liquidation_price - wad(90) * 100 // 98) < 10**12
    assert health.liquidation_distance == (wad(100) - health.liquidation_price) // 100
    assert (health.value, health.equity, health.maintenance) == (0, 100 * 10**6, 20 * 10**6)
    world.publish(110)
    assert lens.effective_leverage(world.market, position_id) == 1_100 * WAD // 200
    world.publish(95)
    assert lens.effective_leverage(world.market, position_id) == 19 * WAD


def test_leverage_without_equity_is_the_largest_number() -> None:
    world = World(price=100, max_jump=wad("0.05"), **FRICTIONLESS)
    lens = lens_of(world)
    position_id = world.open(LONG, 10, 100)
    world.wait(1)
    position = world.position(position_id)
    position.margin = 1
    snapshot = lens._load(world.market)
    snapshot.marks.price = wad(99)
    assert lens._health(position, snapshot).effective_leverage == NEVER


def test_lens_reverts_for_unknown_and_closed_positions() -> None:
    world = World()
    lens = lens_of(world)
    position_id = world.open(LONG, 10, 100)
    world.close(position_id)
    for view in (lens.liquidation_price, lens.liquidation_distance, lens.health):
        assert reason_of(view, world.market, 0) == errors.NO_POSITION
        assert reason_of(view, world.market, position_id) == errors.POSITION_CLOSED


# Lists and status


@pytest.mark.parametrize("seed", range(6))
def test_deleveraging_closes_the_listed_in_their_order(seed: int) -> None:
    rng = random.Random(seed)
    world = World(max_funding_rate=0, max_utilisation_rate=0, is_watched=False)
    market, lens = world.market, lens_of(world)
    for _ in range(60):
        side, size = rng.choice((LONG, LONG, LONG, SHORT)), rng.choice((1, 20, 400, 2_000))
        world.open(side, size, size * rng.randint(12, 60), rng.choice(TRADERS))
        if rng.random() < 0.5:
            world.publish(rng.randint(99, 101))
    world.publish(106)
    assert_lists(lens, market, world.open_ids())
    # From now on no profit at all fits.
    strict = world.engine.params()._replace(max_profit_share=0)
    world.engine.set_params(strict, sender=ROLE["configurator"])
    closed = 0
    for _ in range(4):
        listed = lens.next_to_deleverage(market, MAX_LISTED)
        market.continue_backlog(32, sender=ROLE["keeper"])
        names = [event for event in world.chain.events if event.name == "PositionSettled"]
        assert all(event.fields[-1] for event in names)
        ids = [event.fields[0] for event in names]
        assert ids == listed[: len(ids)]
        closed += len(ids)
        if not market._has_backlog():
            break
    assert closed > 10
    assert not market._has_backlog()


def test_lists_are_empty_without_positions() -> None:
    world = World()
    lens = lens_of(world)
    for view in (lens.next_to_liquidate, lens.nearest_to_liquidation, lens.next_to_deleverage):
        assert view(world.market, 5) == []
        assert view(world.market, 0) == []


def test_lists_hold_no_more_than_they_are_asked_for() -> None:
    world = World()
    lens = lens_of(world)
    ids = [world.open(LONG, 1, 6 + number) for number in range(70)]
    world.publish(101)
    for view in (lens.nearest_to_liquidation, lens.next_to_deleverage):
        assert len(view(world.market, 0)) == 0
        assert len(view(world.market, 7)) == 7
        assert len(view(world.market, 10**9)) == MAX_LISTED
    # The less margin, the nearer; the more, the earlier deleveraged.
    assert lens.nearest_to_liquidation(world.market, 70) == ids[:MAX_LISTED]
    assert lens.next_to_deleverage(world.market, 70) == ids[::-1][:MAX_LISTED]


def test_status_names_what_is_possible() -> None:
    world = World(price=None, max_jump=wad("0.05"), max_price_age=600)
    lens = lens_of(world)
    status = lens.status(world.market)
    assert (status.price, status.is_priced, status.has_newer_price) == (0, False, False)
    world.publish(100)
    status = lens.status(world.market)
    assert status.price == wad(100)
    assert status.price_time == status.feed_time == world.chain.timestamp
    assert (status.is_priced, status.is_halted, status.is_restricted) == (True, False, False)
    world.publish(110)
    status = lens.status(world.market)
    assert (status.is_priced, status.is_halted, status.has_newer_price) == (False, True, True)
    assert status.price == wad(100)
    assert status.breaker.pending_price == status.feed_price == wad(110)
    world.publish(110)
    status = lens.status(world.market)
    assert (status.price, status.is_halted, status.is_restricted) == (wad(110), False, True)
    assert status.breaker.reduce_only_until == world.chain.timestamp + 60
    world.wait(601)
    status = lens.status(world.market)
    assert (status.is_priced, status.is_restricted, status.is_expired) == (False, False, False)
    world.wait(7 * 86_400)
    assert lens.status(world.market).is_expired


def test_status_stands_a_feed_that_reverts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    lens = lens_of(world)
    assert lens.status(world.market).is_feed_answering

    def fail() -> tuple[int, int, int]:
        raise Revert(errors.STALE_PRICE)

    monkeypatch.setattr(world.feed, "latest_price", fail)
    status = lens.status(world.market)
    assert status.is_priced
    assert (status.is_feed_answering, status.feed_price, status.feed_time) == (False, 0, 0)


# Previews and lists, in a crowd

HARSH: dict[str, Any] = {
    "skew_scale": wad(400_000),
    "max_funding_rate": 13 * 10**13,
    "max_utilisation_rate": 10**12,
    "max_price_age": 86_400,
    "calm_volatility": wad("0.02"),
    "max_volatility_multiplier": 3 * WAD,
    "crowding_lower": wad("0.4"),
    "max_jump": wad("0.12"),
    "max_moves": (wad("0.5"), wad("0.9")),
    "max_open_interest": wad(3_000),
    "max_skew": wad(2_000),
    "reserve_fraction": wad("0.02"),
    "max_insurance_draw": wad("0.3"),
}


class Crowd:
    """A market in which everybody does what comes to mind, and asks the lens before."""

    def __init__(self, seed: int) -> None:
        self.rng = rng = random.Random(seed)
        cash = rng.choice((3_000, 60_000, 1_000_000))
        share = rng.choice((wad("0.3"), WAD))
        self.world = World(
            rng.choice((6, 8, 18)), cash=cash, is_watched=False, max_profit_share=share, **HARSH
        )
        self.market = self.world.market
        self.lens = lens_of(self.world)
        self.price = wad(100)
        self.deepest = cash
        self.done = Counter[str]()
        self.refused = Counter[str]()
        self.told = Counter[str]()

    @property
    def live(self) -> list[int]:
        return [number for number, stored in self.market._positions.items() if stored]

    def run(self, steps: int) -> None:
        actions = [self.trade] * 24 + [self.pass_time] * 3 + [self.bring_price] * 4
        actions += [self.of_anyone] * 2 + [self.disturb]
        for step in range(steps):
            self.world.wait(self.rng.choice((0, 0, 30, 90)))
            self.rng.choice(actions)()
            if step % 12 == 0:
                assert_lists(self.lens, self.market, self.live)
                self.assert_prices()

    def assert_prices(self) -> None:
        if not self.live:
            return
        position_id = self.rng.choice(self.live)
        found = self.lens.liquidation_price(self.market, position_id)
        near = [found + step for step in range(-30, 31)]
        unit = self.market.NOTIONAL_SCALE // self.market.position(position_id).size
        near += [found + self.rng.randint(-3 * unit - 9, 3 * unit + 9) for _ in range(30)]
        near += [self.rng.randint(1, 3 * self.price) for _ in range(10)]
        assert_liquidation_price(self.lens, self.market, position_id, near)

    def attempt(self, action: str, name: str, args: tuple[int, ...]) -> None:
        """Asks, does and compares."""
        caller = ROLE[name]
        said = ask(self.lens, self.market, action, caller, args)
        refused, value = None, None
        try:
            value = getattr(self.market, action)(*args, sender=caller)
        except Revert as revert:
            refused = revert.reason
        assert_true(said, self.lens, self.market, refused, value)
        if refused is None:
            self.done[action] += 1
            self.note(said.told)
        else:
            self.refused[refused] += 1

    def note(self, told: Any) -> None:
        self.told["claim"] += told.claim > 0
        self.told["insurance used"] += getattr(told, "insurance_used", 0) > 0
        self.told["bad debt"] += getattr(told, "bad_debt", 0) > 0
        self.told["in part"] += hasattr(told, "penalty") and told.holding.size > 0

    def trade(self) -> None:
        rng = self.rng
        position_id = rng.choice([*self.live, 1, 2] if rng.random() < 0.9 else [0, 10**6])
        stored = self.market._positions[position_id]
        action = rng.choice(("open", "open", *OF_OWNER)) if len(self.live) < 60 else "close"
        unit = self.world.unit
        odd = rng.choice((0, 1, MAX_MARGIN, MAX_MARGIN + 1, MAX_UINT256))
        amount = odd if rng.random() < 0.06 else int(unit * 10 ** rng.uniform(-3, 4))
        winners = self.lens.next_to_deleverage(self.market, 5)
        if winners and rng.random() < 0.1:
            # More profits than losses are taken, so that pools run dry.
            position_id = rng.choice(winners)
            position = self.market.position(position_id)
            name = next(name for name in TRADERS if ROLE[name] == position.owner)
            self.attempt("close", name, (position_id, ANY_PRICE[1 - position.side]))
            return
        if stored is None and rng.random() < 0.3:
            action, arguments = rng.choice((("close", (0,)), ("add_margin", (unit,))))
            self.attempt(action, rng.choice(TRADERS), (position_id, *arguments))
            return
        if action == "open" or stored is None:
            size = odd if rng.random() < 0.04 else int(WAD * 10 ** rng.uniform(-1.2, 3.6))
            notional = margin_math._fraction_of_notional_up(
                min(size, 2**104), self.market.marks().price, WAD, self.market.NOTIONAL_SCALE
            )
            side = rng.choice((0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 2))
            margin = (
                odd if rng.random() < 0.03 else int(notional * rng.choice((0.06, 0.16, 0.3, 0.6)))
            )
            self.attempt("open", rng.choice(TRADERS), (side, size, margin, self.worst(side)))
            return
        owner = next(name for name in TRADERS if ROLE[name] == stored.owner)
        name = "attacker" if rng.random() < 0.05 else owner
        share = rng.choice((0, 1, 1_000_000, 1_000_001, rng.randint(1, 999_999)))
        part = stored.size * share // 1_000_000
        exit_price = self.worst(1 - stored.side)
        arguments = {
            "increase": (part, rng.choice((0, amount)), self.worst(stored.side)),
            "reduce": (part, exit_price),
            "close": (exit_price,),
            "add_margin": (amount,),
            "remove_margin": (stored.margin * share // 1_000_000 if share else odd,),
        }
        self.attempt(action, name, (position_id, *arguments[action]))

    def worst(self, side: int) -> int:
        """Mostly any price; now and then one near the market's, on either side."""
        if self.rng.random() < 0.8:
            return ANY_PRICE.get(side, 0)
        return self.price + self.rng.randint(-(10**16), 10**16)

    def of_anyone(self) -> None:
        rng, market = self.rng, self.market
        marks = market.marks()
        due = [i for i in self.live if market._is_liquidatable(market.position(i), marks)]
        pool = due if due and rng.random() < 0.8 else [*self.live, 0, 10**6]
        action = "settle" if market._is_expired(marks) or rng.random() < 0.1 else "liquidate"
        name = rng.choice(("keeper", *TRADERS))
        self.attempt(action, name, (rng.choice(pool),))

    def herd(self) -> None:
        """Many of one opinion, all of them due at one price: more than a call looks at."""
        rng, market = self.rng, self.market
        side = rng.choice((LONG, SHORT))
        self.calm_down()
        for _ in range(40):
            size = rng.randint(10, 60) * WAD // 10
            notional = margin_math._fraction_of_notional_up(
                size, market.marks().price, WAD, market.NOTIONAL_SCALE
            )
            arguments = (side, size, notional // 5, ANY_PRICE[side])
            self.attempt("open", rng.choice(TRADERS), arguments)
        for _ in range(rng.choice((1, 2, 2, 3))):
            self.bring_price((1 - 2 * side) * -0.11)
        for _ in range(rng.choice((0, 8, 16))):
            self.of_anyone()
            self.trade()
        self.calm_down()

    def calm_down(self) -> None:
        """Works off what is left over and waits until nothing is restricted."""
        self.work_off()
        self.world.wait(400)
        self.bring_price(0.0)

    def pass_time(self) -> None:
        """Long enough for funding to bring some below their maintenance, or for a stale price."""
        for _ in range(self.rng.choice((1, 70, 70))):
            self.world.wait(1_200)
            if self.lens.next_to_liquidate(self.market, 1):
                break
        for _ in range(3):
            self.of_anyone()
        self.bring_price()

    def bring_price(self, move: float | None = None) -> None:
        rng = self.rng
        if move is None:
            move = rng.choice((0.001, 0.001, 0.003, 0.003, 0.02, 0.05, 0.14)) * rng.choice((-1, 1))
        self.price = max(wad(20), int(self.price * (1 + move)))
        self.world.wait(1)
        self.world.publish_wad(self.price, self.price // 1_000)
        pool = self.world.pool
        is_poor = pool.cash() < self.deepest * self.world.unit // 3
        if is_poor and rng.random() < 0.2 and pool.maxDeposit(ROLE["lp"]):
            self.world.deposit(self.deepest)

    def work_off(self) -> None:
        """The lens names what a run over the index liquidates, in its order."""
        market, rng = self.market, self.rng
        if market._halted:
            return
        listed = self.lens.next_to_liquidate(market, MAX_LISTED)
        market.continue_backlog(rng.choice((1, 5, 40)), sender=ROLE["keeper"])
        events = market.chain.events
        liquidated = [event.fields[0] for event in events if event.name == "PositionLiquidated"]
        assert liquidated == listed[: len(liquidated)]
        if not market._backlog and len(listed) <= 32:
            assert liquidated == listed
        self.done["continue_backlog"] += 1

    def disturb(self) -> None:
        rng, world = self.rng, self.world
        what = rng.choice(("restrict", "seize", "drain", "herd", "herd", "week", "work off"))
        if what == "restrict":
            until = world.chain.timestamp + 300
            world.engine.restrict(until, sender=ROLE["configurator"])
        elif what == "seize":
            amount = world.token.balanceOf[self.market.address] // 2
            world.token.seize(self.market.address, amount, sender=ROLE["attacker"])
            for _ in range(3):
                self.trade()
            world.token.transfer(self.market.address, amount, sender=ROLE["attacker"])
        elif what == "drain":
            shares = world.pool.maxRedeem(ROLE["lp"])
            if shares:
                world.pool.redeem(shares, ROLE["lp"], ROLE["lp"], sender=ROLE["lp"])
            for _ in range(5):
                self.trade()
                self.bring_price()
        elif what == "herd":
            self.herd()
        elif what == "week":
            world.wait(8 * 86_400)
            for _ in range(6):
                self.of_anyone()
        elif what == "work off":
            self.work_off()


@pytest.mark.slow
def test_previews_come_true_and_lists_are_in_order() -> None:
    done, refused, told = Counter[str](), Counter[str](), Counter[str]()
    for seed in range(20):
        crowd = Crowd(seed)
        crowd.run(450)
        done += crowd.done
        refused += crowd.refused
        told += crowd.told
    assert set(PREVIEWED) <= set(done), done
    assert min(done[action] for action in PREVIEWED) > 20, done
    assert done["continue_backlog"] > 10
    assert set(refused) >= PROMISED, PROMISED - set(refused)
    assert min(told.values()) > 0, told


# Every reason with which one of the previewed actions can refuse.
PROMISED = {
    errors.UNKNOWN_SIDE,
    errors.ZERO_AMOUNT,
    errors.AMOUNT_TOO_LARGE,
    errors.ZERO_SIZE,
    errors.SIZE_TOO_LARGE,
    errors.SIZE_TOO_SMALL,
    errors.EXCEEDS_POSITION,
    errors.NOT_OWNER,
    errors.NO_POSITION,
    errors.POSITION_CLOSED,
    errors.LIQUIDATABLE,
    errors.HEALTHY,
    errors.INSUFFICIENT_MARGIN,
    errors.PRICE_PASSED,
    errors.TIER_EXCEEDED,
    errors.OPEN_INTEREST_CAP,
    errors.SKEW_CAP,
    errors.RESERVE_EXCEEDED,
    errors.BACKLOG,
    errors.BOOKS_BROKEN,
    errors.REDUCE_ONLY,
    errors.HALTED,
    errors.STALE_PRICE,
    errors.NOT_EXPIRED,
}
