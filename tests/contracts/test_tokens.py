"""Tokens that misbehave: keep a fee, return nothing, return false, call back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from both_forms import ANY, PRICE, BothForms

import perp_fuzz.deployment
from perp_fuzz.deployment import ADDRESSES, FEED_DECIMALS, FEED_ID, PUBLISHERS, ROOT, WAD
from perp_fuzz.feeds import SOUND
from perp_fuzz.signing import Signer, by_address
from python_model.liquidity_pool import TRANSFER_DID_NOT_SUCCEED
from python_model.modules import errors
from python_model.signed_price_feed import SignedPriceFeed
from python_model.testing.token_mock import TokenMock

MOCK = "contracts/testing/TokenMock.vy"

# Every call that takes tokens in, with the role that makes it.
PULLS: dict[str, tuple[str, Callable[[BothForms, int], tuple[Any, ...]]]] = {
    "market.open": ("trader_0", lambda m, _: (0, WAD, 1_000 * m.unit, ANY)),
    "market.increase": ("trader_0", lambda m, i: (i, WAD, 1_000 * m.unit, ANY)),
    "market.add_margin": ("trader_0", lambda m, i: (i, 10_000)),
    "market.fund_insurance": ("trader_0", lambda m, _: (10_000,)),
    "pool.deposit": ("lp_0", lambda m, _: (10_000, "lp_0")),
    "pool.mint": ("lp_0", lambda m, _: (10**9, "lp_0")),
}
# Every call that pays tokens out.
PUSHES: dict[str, tuple[str, Callable[[BothForms, int], tuple[Any, ...]]]] = {
    "market.close": ("trader_0", lambda m, i: (i, 0)),
    "market.remove_margin": ("trader_0", lambda m, i: (i, 1)),
    "market.collect_fees": ("keeper_0", lambda m, i: ()),
    "pool.withdraw": ("lp_0", lambda m, i: (1_000, "lp_0", "lp_0")),
    "pool.redeem": ("lp_0", lambda m, i: (10**6, "lp_0", "lp_0")),
}
MOVES = PULLS | PUSHES


# A token that credits less than was sent


@pytest.mark.parametrize("bps", [1, 100, 10_000])
@pytest.mark.parametrize("function", PULLS)
def test_a_token_that_credits_less_is_refused(market: BothForms, function: str, bps: int) -> None:
    position_id = market.open()
    role, args = PULLS[function]
    held = {name: market.balance(name) for name in (role, "market", "pool")}
    market.does("owner_0", "token.set_fee", bps)
    market.refuses(errors.CREDITED_LESS, role, function, *args(market, position_id))
    assert held == {name: market.balance(name) for name in held}
    # Once it behaves again, everything goes on.
    market.does("owner_0", "token.set_fee", 0)
    market.does(role, function, *args(market, position_id))


# A token that returns nothing


@pytest.mark.parametrize("decimals", [6, 8, 18])
def test_a_token_that_returns_nothing_works_throughout(decimals: int) -> None:
    with BothForms(decimals, token="no return", min_size=WAD) as market:
        market.start()
        for function, (role, args) in MOVES.items():
            position_id = market.open()
            before = market.balance(role)
            market.does(role, function, *args(market, position_id))
            received = market.balance(role) - before
            assert function == "market.collect_fees" or (received > 0) == (function in PUSHES)
        market.open("trader_1", margin=300)
        market.publish(PRICE - 230 * WAD)
        assert market.does("trader_1", "market.withdraw_credit") > 0


# A token that returns false


class FalseToken(TokenMock):
    """Moves nothing and says so; `transferFrom` is sound so that a market can come to life."""

    def transfer(self, receiver: str, amount: int, *, sender: str) -> bool:
        return self.allowance[receiver, receiver] == 0 and super().transfer(
            receiver, amount, sender=sender
        )

    def transferFrom(self, sender_: str, receiver: str, amount: int, *, sender: str) -> bool:
        return self.allowance[sender_, sender_] == 0 and super().transferFrom(
            sender_, receiver, amount, sender=sender
        )


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Sources of a token that refuses those who have approved themselves, by returning false."""
    source = Path(ROOT / MOCK).read_text()
    for party in ("receiver", "sender"):
        call = "_move(msg.sender" if party == "receiver" else "_spend("
        check = f"    if token_ledger.allowance[{party}][{party}] > 0:\n        return False\n"
        assert source.count(f"    token_ledger.{call}") == 1
        source = source.replace(f"    token_ledger.{call}", f"{check}    token_ledger.{call}")
    monkeypatch.setattr(perp_fuzz.deployment, "TokenMock", FalseToken)
    return {MOCK: source}


@pytest.mark.parametrize("function", MOVES)
def test_a_token_that_returns_false_is_refused(refusing: dict[str, str], function: str) -> None:
    with BothForms(overrides=refusing) as market:
        market.start()
        position_id = market.open()
        role, args = MOVES[function]
        loser = "treasury_0" if function == "market.collect_fees" else role
        market.does(loser, "token.approve", ADDRESSES[loser], 1)
        reason = errors.TRANSFER_FAILED
        if function in ("pool.withdraw", "pool.redeem"):
            reason = TRANSFER_DID_NOT_SUCCEED
        market.refuses(reason, role, function, *args(market, position_id))
        market.does(loser, "token.approve", ADDRESSES[loser], 0)
        market.does(role, function, *args(market, position_id))


# A token that calls back


def state_changing(forms: BothForms, contract: str) -> dict[str, list[str]]:
    """External functions with their argument types, as the compiler lists them."""
    artifact = perp_fuzz.deployment.compile_contracts()[
        {"market": "PerpMarket", "pool": "LiquidityPool"}[contract]
    ]
    return {
        item["name"]: [entry["type"] for entry in item["inputs"]]
        for item in artifact.abi
        if item["type"] == "function" and item["stateMutability"] == "nonpayable"
    }


def arguments(types: list[str]) -> list[Any]:
    return ["attacker" if kind == "address" else 1 for kind in types]


LOCKED = {
    "market": [
        *("open", "increase", "reduce", "close", "add_margin", "remove_margin", "update_price"),
        *("continue_backlog", "liquidate", "settle", "accrue", "withdraw_credit"),
        *("collect_fees", "fund_insurance"),
    ],
    "pool": [
        *("pay_profit", "collect_loss", "withdraw_claim", "deposit", "mint", "withdraw", "redeem"),
    ],
}
# No lock: snekmate's share token, which calls nobody.
UNLOCKED = {"market": [], "pool": ["transfer", "transferFrom", "approve"]}
# A pool function entered from a market's transfer finds the market locked.
ACCRUING = ("withdraw_claim", "deposit", "mint", "withdraw", "redeem")


@pytest.mark.parametrize("contract", LOCKED)
def test_every_external_function_is_known_to_these_tests(market: BothForms, contract: str) -> None:
    known = {*LOCKED[contract], *UNLOCKED[contract]}
    assert known == set(state_changing(market, contract))


@pytest.mark.parametrize("outer", MOVES)
@pytest.mark.parametrize(
    ("contract", "inner"), [(name, each) for name in LOCKED for each in LOCKED[name]]
)
def test_a_function_cannot_be_re_entered_from_a_transfer(
    market: BothForms, outer: str, contract: str, inner: str
) -> None:
    position_id = market.open()
    role, args = MOVES[outer]
    types = state_changing(market, contract)[inner]
    market.reenter(f"{contract}.{inner}", *arguments(types))
    values = args(market, position_id)
    if outer.startswith(contract) or inner in ACCRUING:
        market.refuses(errors.REENTRANT_CALL, role, outer, *values)
        market.reenter("")
        market.does(role, outer, *values)
    else:
        # The other contract is not locked: what it does then, it does in both forms alike.
        succeeds, reason = market.call(role, outer, *values)
        assert succeeds or reason


def test_a_price_cannot_be_brought_from_a_transfer(market: BothForms) -> None:
    market.now += 1
    market.does("keeper_0", "relay.answer", PRICE - 1, 1, market.now, SOUND)
    market.reenter("market.update_price", "attacker")
    market.refuses(errors.REENTRANT_CALL, "trader_0", "market.fund_insurance", 1)


def test_a_signed_price_cannot_be_brought_from_a_transfer() -> None:
    path = "contracts/testing/token_ledger.vy"
    source = Path(ROOT / path).read_text()
    assert source.count("Bytes[260]") == 2
    roomy = source.replace("Bytes[260]", "Bytes[1024]")  # a batch of reports is long
    with BothForms(feed="signed", overrides={path: roomy}) as market:
        market.start()
        feed = market.system.feed
        assert isinstance(feed, SignedPriceFeed)
        signer = Signer(market.system.chain, feed.address, FEED_ID, FEED_DECIMALS)
        header = signer.header(market.now + 1)
        reports = [signer.report(role, header, PRICE, 1) for role in by_address(*PUBLISHERS[:3])]
        market.reenter("feed.publish", header, reports)
        market.refuses(errors.FUTURE_PRICE, "trader_0", "market.fund_insurance", 1)
        market.now += 1
        market.refuses(errors.REENTRANT_CALL, "trader_0", "market.fund_insurance", 1)


# A token that takes back what it has moved


@pytest.mark.parametrize("amount", [1, 10**9])
def test_a_token_that_seizes_leaves_the_exits_open(market: BothForms, amount: int) -> None:
    position_id = market.open(margin=3_000)
    market.open("trader_2", margin=3_000)
    market.does("owner_0", "token.seize", "market", amount)
    opening = (0, WAD, 1_000 * market.unit, ANY)
    market.refuses(errors.BOOKS_BROKEN, "trader_1", "market.open", *opening)
    assert market.does("trader_0", "market.close", position_id, 0) > 0
