"""Stories of liquidity providers and of those who may not touch their money."""

from story import ANY, PRICE, WAD, Story

from perp_fuzz.signing import address_of, by_address
from python_model.configurator import DELAY
from python_model.modules import errors, ownable_2step


def test_a_provider_takes_a_traders_loss_home(any_story: Story) -> None:
    story = any_story
    story.fund("trader", "lp")
    story.publish(PRICE)
    before = story.balance("lp")
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    shares = story.view("pool.balanceOf", "lp")
    assert shares == 100_000 * story.unit * 1_000
    story.does("trader", "market.open", 0, WAD, 1_000 * story.unit, ANY)
    # 20 % of the open interest stays in the pool.
    assert story.view("pool.maxWithdraw", "lp") <= 98_000 * story.unit
    story.refuses(errors.WITHDRAWAL_LIMIT, "lp", "pool.redeem", shares, "lp", "lp")
    story.publish(PRICE - 500 * WAD)
    story.does("trader", "market.close", 1, 0)

    worth = story.view("pool.maxWithdraw", "lp")
    assert worth > 100_499 * story.unit
    story.does("lp", "pool.withdraw", worth // 2, "lp", "lp")
    story.does("lp", "pool.redeem", story.view("pool.balanceOf", "lp"), "lp", "lp")
    assert story.view("pool.totalSupply") == 0
    assert before + 499 * story.unit < story.balance("lp") <= before + worth - 100_000 * story.unit
    story.check()


def test_an_attacker_governs_nothing(story: Story) -> None:
    story.fund("lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 1_000 * story.unit, "lp")
    owner_only = ownable_2step.NOT_THE_OWNER
    story.refuses(owner_only, "attacker", "factory.set_treasury", "attacker")
    story.refuses(owner_only, "attacker", "configurator.set_guardian", "attacker")
    story.refuses(owner_only, "attacker", "configurator.propose_params", "market", story.risk)
    story.refuses(owner_only, "attacker", "configurator.tighten", "market", story.risk)
    story.refuses(errors.NOT_GUARDIAN, "attacker", "configurator.guardian_restrict", "market", 1)
    story.refuses(errors.NOT_CONFIGURATOR, "attacker", "engine.set_params", story.risk)
    story.refuses(errors.NOT_CONFIGURATOR, "attacker", "engine.restrict", 1)
    somebody = [story.people["attacker"].address.lower()]
    story.refuses(errors.NOT_CONFIGURATOR, "attacker", "feed.set_publishers", somebody, 1)
    story.refuses(errors.NOT_MARKET, "attacker", "engine.cover_shortfall", 1, 1)
    story.refuses(errors.NOT_MARKET, "attacker", "pool.pay_profit", "attacker", 1)
    story.refuses(errors.NOT_MARKET, "attacker", "pool.collect_loss", 1)
    story.check()


def test_the_owner_replaces_publishers_after_a_notice_and_the_treasury_at_once(
    story: Story,
) -> None:
    story.fund("trader", "lp")
    story.publish(PRICE)
    new = ("one", "two", "three")
    listed = [address_of(role) for role in by_address(*new)]
    story.does("owner", "configurator.propose_publishers", "feed", listed, 3)
    story.refuses(errors.TOO_EARLY, "owner", "configurator.apply_publishers", "feed")
    story.publish(PRICE)
    story.later(DELAY)
    story.does("owner", "configurator.apply_publishers", "feed")
    story.later(10)
    story.price_time = story.chain.pending_timestamp - 1
    story.refuses(errors.NOT_PUBLISHER, "publisher", "feed.publish", *story.batch(PRICE))
    story.publishers = new
    story.publish(PRICE + WAD)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    story.does("trader", "market.open", 0, WAD, 1_000 * story.unit, ANY)
    story.does("owner", "factory.set_treasury", "owner")
    story.does("attacker", "market.collect_fees")
    assert story.balance("owner") > 0
    assert story.balance("treasury") == 0
    story.check()


def test_parameters_change_after_a_notice_unless_they_only_tighten(story: Story) -> None:
    tighter = story.risk._replace(max_open_interest=150 * WAD)
    story.does("owner", "configurator.tighten", "market", tighter)
    assert story.view("engine.params") == tighter
    story.refuses(errors.NOT_TIGHTER, "owner", "configurator.tighten", "market", story.risk)
    looser = story.risk._replace(maintenance_fractions=(10**16, 2 * 10**16, 4 * 10**16, 10**17))
    story.does("owner", "configurator.propose_params", "market", looser)
    story.refuses(errors.TOO_EARLY, "owner", "configurator.apply_params", "market")
    story.later(DELAY)
    story.does("owner", "configurator.apply_params", "market")
    assert story.view("engine.params") == looser
    story.check()


def test_the_guardian_leaves_only_exits_for_a_day(story: Story) -> None:
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    opening = (0, WAD, 1_000 * story.unit, ANY)
    story.does("trader", "market.open", *opening)
    story.does("guardian", "configurator.guardian_restrict", "market", 86_400)
    story.refuses(errors.REDUCE_ONLY, "trader", "market.open", *opening)
    again = ("market", 86_400)
    story.refuses(errors.RESTRICTED_RECENTLY, "guardian", "configurator.guardian_restrict", *again)
    story.does("trader", "market.close", 1, 0)
    story.later(86_400)
    story.publish(PRICE)
    story.does("trader", "market.open", *opening)
    story.check()
