"""PriceFeed: one publisher, time that only goes forward, an owner in two steps."""

import pytest
from both_forms import PRICE, BothForms

from lockstep import abi
from perp_fuzz.deployment import ADDRESSES, compile_contracts
from python_model.modules import errors, ownable_2step
from python_model.modules.constants import MAX_PRICE
from python_model.price_feed import PriceFeed

MAX_DELAY = 60


def test_a_price_is_kept_and_settles_the_market(bare: BothForms) -> None:
    assert bare.publish(PRICE) == 0
    assert bare.system.feed.latest_price() == (PRICE, bare.now)
    assert [event.name for event in bare.system.chain.events] == ["PricePublished", "PriceUpdated"]


@pytest.mark.parametrize("role", ["attacker", "owner_0", "publisher_1"])
def test_only_the_publisher_publishes(bare: BothForms, role: str) -> None:
    bare.refuses(errors.NOT_PUBLISHER, role, "feed.publish", PRICE, bare.now)


def test_a_price_must_be_positive_and_fit_its_word(bare: BothForms) -> None:
    bare.refuses(errors.ZERO_PRICE, "publisher_0", "feed.publish", 0, bare.now)
    too_large = (MAX_PRICE + 1, bare.now)
    bare.refuses(errors.PRICE_TOO_LARGE, "publisher_0", "feed.publish", *too_large)
    bare.publish(1)
    bare.publish(MAX_PRICE)


def test_a_price_may_not_come_from_the_future(bare: BothForms) -> None:
    for late in (bare.now + 1, 2**48, 2**256 - 1):
        bare.refuses(errors.FUTURE_PRICE, "publisher_0", "feed.publish", PRICE, late)
    bare.does("publisher_0", "feed.publish", PRICE, bare.now)


def test_a_price_must_be_newer_than_the_last(bare: BothForms) -> None:
    bare.publish(PRICE)
    for old in (bare.now, bare.now - 1, 0):
        bare.refuses(errors.OLD_PRICE, "publisher_0", "feed.publish", PRICE, old)


def test_a_price_older_than_the_delay_is_refused(bare: BothForms) -> None:
    old = (PRICE, bare.now - MAX_DELAY - 1)
    bare.refuses(errors.STALE_PRICE, "publisher_0", "feed.publish", *old)
    bare.does("publisher_0", "feed.publish", PRICE, bare.now - MAX_DELAY)


def test_the_owner_replaces_the_publisher(bare: BothForms) -> None:
    bare.does("owner_0", "feed.set_publisher", "publisher_1")
    bare.refuses(errors.NOT_PUBLISHER, "publisher_0", "feed.publish", PRICE, bare.now)
    bare.publish(PRICE, "publisher_1")


@pytest.mark.parametrize("role", ["attacker", "publisher_0", "owner_1"])
def test_only_the_owner_sets_publisher_and_owner(bare: BothForms, role: str) -> None:
    reason = ownable_2step.NOT_THE_OWNER
    bare.refuses(reason, role, "feed.set_publisher", "attacker")
    bare.refuses(reason, role, "feed.transfer_ownership", "attacker")
    bare.refuses(ownable_2step.NOT_THE_NEW_OWNER, role, "feed.accept_ownership")


def test_ownership_moves_in_two_steps(bare: BothForms) -> None:
    bare.does("owner_0", "feed.transfer_ownership", "owner_1")
    assert bare.system.feed.owner == ADDRESSES["owner_0"]
    bare.refuses(ownable_2step.NOT_THE_NEW_OWNER, "attacker", "feed.accept_ownership")
    bare.does("owner_1", "feed.accept_ownership")
    bare.refuses(ownable_2step.NOT_THE_OWNER, "owner_0", "feed.set_publisher", "attacker")
    bare.does("owner_1", "feed.set_publisher", "publisher_1")


def test_the_market_is_set_once_by_the_deployer(bare: BothForms) -> None:
    bare.refuses(errors.NOT_DEPLOYER, "attacker", "feed.set_market", bare.system.market)
    bare.refuses(errors.NOT_DEPLOYER, "owner_0", "feed.set_market", bare.system.market)
    owner, publisher = ADDRESSES["owner_0"], ADDRESSES["publisher_0"]
    initcode = compile_contracts()["PriceFeed"].initcode + abi.words(owner, publisher)
    address = bare.engine.deploy(initcode, owner)
    bare.add("other", PriceFeed(bare.system.chain, address, owner, publisher, owner), "feed")
    bare.refuses(errors.NOT_DEPLOYER, "attacker", "other.set_market", bare.system.market)
    bare.does("owner_0", "other.set_market", bare.system.market)
    bare.refuses(errors.ALREADY_SET, "owner_0", "other.set_market", bare.system.market)
