"""Stories of the market speak of roles, units and ages; steps written by hand are checked."""

import pytest

from lockstep.engines import GENESIS_TIME, open_engine
from lockstep.shrink import shrink
from lockstep.stage import Look, Stage, plain
from lockstep.step import Step
from lockstep.story import tell
from perp_fuzz.adapter import ADAPTER, PerpAdapter
from perp_fuzz.deployment import ROOT
from perp_fuzz.planted import BUGS
from perp_fuzz.shrinks_command import spread
from perp_fuzz.story import complaint, moment
from perp_fuzz.story import plain as amount
from python_model.evm import MAX_UINT256

CONFIG = {"decimals": 6, "token": "standard", "feed": "signed"}
AT = GENESIS_TIME + 1
WAD = 10**18
STEPS = [
    Step("publish", "publisher_0", (8_000 * WAD, WAD, AT - 1, 0), AT),
    Step("deposit", "lp_0", (500_000_000_000, "lp_0"), AT),
    Step("open", "trader_3", (0, WAD // 2, 400_000_000, MAX_UINT256), AT + 5),
    Step("close", "trader_1", (1, 0), AT + 5),
]


def test_a_story_has_roles_prices_amounts_and_what_both_sides_answer() -> None:
    first, deposit, opening, closing = tell(ADAPTER, CONFIG, STEPS, "revm")
    assert first.startswith(
        "2020-01-01 00:00:01, no price yet:\n   publisher_0 brings price 8,000 "
    )
    assert "confidence 1 of time 1 s ago, flaw sound" in first
    assert "at the same time, price 8,000:\n   lp_0 deposits 500,000 for lp_0" in deposit
    assert "pool logs Deposit: sender lp_0, owner lp_0, assets 500,000, shares" in deposit
    assert opening.startswith("5 s later, price 8,000:\n   trader_3 opens side long, size 0.5, ")
    assert "margin 400, no worse than 2**256 - 1" in opening
    assert "both:     returns 1" in opening
    assert "market logs PositionOpened: position_id 1, owner trader_3, side long" in opening
    assert "price 8,000, 1 open position:\n" in closing
    assert "both:     reverts with 'not the position owner'" in closing


def test_amounts_are_exact() -> None:
    assert amount(1_500_000, 6) == "1.5"
    assert amount(-1, 18) == "-0.000000000000000001"
    assert amount(12_345_678_900_000, 6) == "12,345,678.9"
    assert amount(0, 6) == "0"
    assert amount(7, 0) == "7"


def test_times_are_told_as_ages() -> None:
    assert moment(AT, AT) == "now"
    assert moment(AT - 61, AT) == "61 s ago"
    assert moment(AT + 1, AT) == "1 s ahead"
    assert moment(AT, 0) == "2020-01-01 00:00:01"
    assert moment(2**255, AT) == f"{2**255:,}"


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Step("open", "trader_9", (0, 1, 1, 1), AT), "nobody is called 'trader_9'"),
        (Step("open", "trader_1", (0, 1, 1), AT), "takes 4 arguments, not 3"),
        (Step("open", "trader_1", (0, 1, 1, "all"), AT), "argument 4, 'all', is no number"),
        (Step("open", "trader_1", (0, -1, 1, 1), AT), "argument 2, -1, is negative"),
        (Step("open", "trader_1", (0, 2**256, 1, 1), AT), "at most 256 bits"),
        (Step("deposit", "lp_0", (5, 5), AT), "argument 2, 5, is no role or contract"),
        (Step("set_hook", "owner_0", ("market.steal",), AT), "is none of market.accrue"),
    ],
)
def test_a_step_written_by_hand_is_checked(step: Step, says: str) -> None:
    assert says in (complaint(step) or "")


def test_what_the_generator_draws_is_not_complained_of() -> None:
    for step in STEPS:
        assert complaint(step) is None


def test_the_market_is_put_back_before_each_replay() -> None:
    engine = open_engine("revm")
    stage = Stage(ADAPTER, engine, CONFIG)
    assert stage.can_be_put_back
    first = stage.replay(plain(STEPS), Look())
    assert first.mismatch is None
    assert first.succeeded == [True, True, True, False]
    stage.mark(plain(STEPS)[:2])
    assert stage.replay(plain(STEPS), Look()) == first
    assert stage.replay(plain(STEPS[:1] + STEPS[2:]), Look()).succeeded[1] is False
    stage.verify(plain(STEPS), first)
    assert stage.can_be_put_back
    engine.close()


def test_a_planted_bug_shrinks_to_what_it_takes() -> None:
    market = "contracts/PerpMarket.vy"
    source = (ROOT / market).read_text()
    right = "price=marks.price,\n        price_time=marks.price_time,"
    wrong = "price=marks.price_time,\n        price_time=marks.price,"
    assert source.count(right) == 1
    buggy = PerpAdapter(overrides={market: source.replace(right, wrong)})
    engine = open_engine("revm")
    shrunk = shrink(buggy, engine, CONFIG, [*STEPS[1:], STEPS[0]._replace(at=AT + 9)])
    engine.close()
    assert shrunk is not None
    (step,) = shrunk.steps
    assert step == Step("publish", "publisher_0", (step.args[0], step.args[1], AT, 0), AT)
    assert shrunk.minimal


def test_bugs_to_shrink_are_spread_over_files_and_categories() -> None:
    chosen = spread(BUGS, 20, 1)
    assert chosen == spread(BUGS, 20, 1)
    assert len({(bug.files[0], bug.category) for bug in chosen}) == 20
    assert chosen != spread(BUGS, 20, 2)
    assert len(spread(BUGS, 10**6, 1)) == len(BUGS)
