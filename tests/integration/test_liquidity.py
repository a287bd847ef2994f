"""Stories of liquidity providers and of those who may not touch their money."""

from story import ANY, PRICE, WAD, Story

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
    story.refuses(owner_only, "attacker", "feed.set_publisher", "attacker")
    story.refuses(owner_only, "attacker", "factory.set_treasury", "attacker")
    story.refuses(errors.NOT_PUBLISHER, "attacker", "feed.publish", PRICE, 1)
    story.refuses(errors.NOT_MARKET, "attacker", "pool.pay_profit", 1)
    story.refuses(errors.NOT_MARKET, "attacker", "pool.collect_loss", 1)
    story.check()


def test_the_owner_replaces_publisher_and_treasury(story: Story) -> None:
    story.fund("trader", "lp")
    story.publish(PRICE)
    story.does("owner", "feed.set_publisher", "keeper")
    story.refuses(errors.NOT_PUBLISHER, "publisher", "feed.publish", PRICE, story.price_time + 1)
    story.people = {**story.people, "publisher": story.people["keeper"]}
    story.publish(PRICE + WAD)
    story.does("lp", "pool.deposit", 100_000 * story.unit, "lp")
    story.does("trader", "market.open", 0, WAD, 1_000 * story.unit, ANY)
    story.does("owner", "factory.set_treasury", "owner")
    story.does("attacker", "market.collect_fees")
    assert story.balance("owner") > 0
    assert story.balance("treasury") == 0
    story.check()
