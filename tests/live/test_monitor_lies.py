"""A market whose contracts are not what the source says: the monitor names block and invariant."""

import pytest

from operations.monitor.fuzz_market import FuzzMarket
from operations.monitor.lies import following, to_head
from operations.monitor.replica import AGREEMENT
from perp_fuzz.deployment import compile_contracts
from perp_fuzz.feeds import REPORT_FLAWS
from perp_fuzz.planted import BUGS, choose, planted

PRICE = 10_000 * 10**18
FOREVER = 10 * 365 * 86_400


@pytest.fixture
def make_market():
    """Deploys a market with a bug; the monitor believes its manifest."""
    markets = []

    def make(artifacts):
        markets.append(FuzzMarket({"decimals": 6, "feed": "signed"}, artifacts))
        return markets[-1]

    yield make
    for market in markets:
        market.close()


def restrict_for_ever(market):
    return market.act("guardian_restrict", "guardian_0", FOREVER)


def publish_with_too_few(market):
    at = market.now + 12
    return market.act(
        "publish", "keeper_0", PRICE, PRICE // 2_000, at, REPORT_FLAWS.index("too few")
    )


def deposit_with_a_rest(market):
    market.act("deposit", "lp_0", 10**12 + 7, "lp_0")
    market.act("open", "trader_0", 0, 10**18, 10**10, 2**255)
    market.publish(10_100)  # the pool has lost what the trader has won
    return market.act("deposit", "lp_1", 10**9 + 9, "lp_1")


@pytest.mark.parametrize(
    ("name", "lie", "told", "broken"),
    [
        (
            "guardian-without-limit",
            restrict_for_ever,
            "Configurator.guardian_restrict: the contract succeeds, the model reverts with "
            "'bad duration'",
            {"I-7-cause"},
        ),
        (
            "quorum-one-less",
            publish_with_too_few,
            "SignedPriceFeed.publish: the contract succeeds, the model reverts with "
            "'too few reports'",
            set(),
        ),
        (
            "minted-shares-up",
            deposit_with_a_rest,
            "LiquidityPool.deposit: return value: expected",
            set(),
        ),
    ],
)
def test_a_contract_that_lies_is_named_with_the_block(make_market, name, lie, told, broken):
    (bug,) = choose([name], BUGS)
    with planted(bug) as texts:
        market = make_market(compile_contracts(texts))
    with following(market) as follower:
        market.publish(10_000)
        to_head(follower)
        assert not follower.broken
        assert lie(market).ok
        lied = market.head
        market.act("accrue", "attacker")
        to_head(follower)
        assert follower.broken[AGREEMENT].block == lied
        assert follower.broken[AGREEMENT].text.startswith(told)
        # The model has taken over what the chain holds: what comes later is judged on its own.
        assert {finding.block for finding in follower.database.findings()} == {lied}
        assert set(follower.broken) - {AGREEMENT} == broken


def test_what_model_and_contract_do_wrongly_alike_is_named_by_its_invariant(make_market):
    """Comparing cannot see a bug that both have."""
    (bug,) = choose(["both-restriction-ignored"], BUGS)
    with planted(bug) as texts:
        market = make_market(compile_contracts(texts))
        with following(market) as follower:
            market.publish(10_000)
            market.act("deposit", "lp_0", 10**12, "lp_0")
            assert market.act("guardian_restrict", "guardian_0", 3_600).ok
            market.publish(10_000)
            to_head(follower)
            assert not follower.broken
            assert market.act("open", "trader_0", 0, 10**17, 10**8, 2**255).ok
            to_head(follower)
            assert set(follower.broken) == {"I-7-risk"}
            assert follower.broken["I-7-risk"].block == market.head
            assert follower.broken["I-7-risk"].text == "open added risk"
