"""Questions about what a market hardly meets: that they are asked at all, and undone."""

import random
from collections import defaultdict
from itertools import product

import pytest

from lockstep import abi
from lockstep.adapter import Refusal, View
from lockstep.checker import Checker
from lockstep.compare import look
from lockstep.engines import open_engine
from perp_fuzz.adapter import PerpAdapter
from perp_fuzz.commands import configs
from perp_fuzz.deployment import ADDRESSES, calls_of
from python_model.modules import errors

ADAPTER = PerpAdapter()
KINDS = configs([6, 8, 18])


def driven(kind: int, steps: int = 150) -> Checker:
    """A chain of so many steps on revm."""
    rng = random.Random(kind)
    config = {**KINDS[kind], "seed": kind, "chain": 0, "chains": 1}
    checker = Checker(ADAPTER, open_engine("revm"), config, 0)
    checker.batch(lambda twin: ADAPTER.generate(twin, rng), steps)
    return checker


@pytest.fixture(scope="module")
def asked() -> dict[str, set[str]]:
    """What was answered to the trials on three deployments at three moments each: by their kind, ""
    or a reason."""
    answers: dict[str, set[str]] = defaultdict(set)
    for kind, steps in product(range(3), (50, 100, 150)):
        checker = driven(kind, steps)
        for view in checker.twin.views():
            label, expected = view[3], _expected(view)
            reason = (
                expected[68:100].rstrip(b"\0").decode() if isinstance(expected, Refusal) else ""
            )
            assert look(checker.engine, view) is None
            answers[_kind(label)].add(reason)
    return answers


def _expected(view: View) -> bytes:
    return view[2]() if callable(view[2]) else view[2]


def _kind(label: str) -> str:
    for word in ("at once: open", "at once", "a puppet", "params() of a new market"):
        if label.startswith(word):
            return word
    name, _, rest = label.partition("(")
    return f"double: {name}" if " with Marks(" in rest else name


def test_the_lens_is_asked_about_positions_that_are_due_and_healthy(
    asked: dict[str, set[str]],
) -> None:
    assert {"", errors.HEALTHY} <= asked["double: preview_liquidate"]
    assert {"", errors.LIQUIDATABLE} <= asked["double: preview_close"]
    assert {"", errors.NOT_EXPIRED} <= asked["double: preview_settle"]
    assert asked["double: next_to_deleverage"] == {""}


def test_a_wallet_does_several_things_at_once(asked: dict[str, set[str]]) -> None:
    assert "" in asked["at once: open"]
    assert "" in asked["at once"]


def test_a_puppet_leaves_claims_and_is_refused_some(asked: dict[str, set[str]]) -> None:
    assert "" in asked["a puppet"]
    assert errors.NOTHING_TO_WITHDRAW in asked["a puppet"]


def test_parameters_of_a_new_market_are_read(asked: dict[str, set[str]]) -> None:
    assert asked["params() of a new market"] == {""}


def test_the_same_is_asked_in_the_same_state() -> None:
    checker = driven(1)
    first, again = (
        [(view[:2], _expected(view), view[3:]) for view in checker.twin.views()] for _ in range(2)
    )
    assert first == again


def test_nothing_is_left_of_what_is_done_before_a_view() -> None:
    checker = driven(0, 20)
    with_before = [view for view in checker.twin.views() if len(view) == 6 and view[5]]
    assert with_before
    words = sorted(checker.twin.all_words())
    for view in with_before:
        assert look(checker.engine, view) is None
    assert sorted(checker.twin.all_words()) == words
    for address, slot, value in words:
        assert checker.engine.storage(address, slot) == value
    # What is done before matters: without it the answers are others.
    assert any(look(checker.engine, view[:5]) is not None for view in with_before)


def test_a_wallet_gives_the_last_answer_or_reverts_as_the_first_that_does() -> None:
    checker = driven(0, 20)
    market, engine = checker.twin.market.address, checker.engine
    accrue, version = abi.selector("accrue()"), abi.selector("version()")
    sender, wallet, data = calls_of("trader_wallet", [(market, accrue), (market, version)])
    assert wallet == ADDRESSES["trader_wallet"]
    got = engine.view(wallet, data, sender)
    assert got.ok
    assert got.output == engine.view(market, version).output != b""
    refused = abi.selector("withdraw_credit()")
    _, _, data = calls_of("trader_wallet", [(market, accrue), (market, refused), (market, version)])
    got = engine.view(wallet, data, sender)
    assert not got.ok
    assert got.output == abi.error_string(errors.NOTHING_TO_WITHDRAW)
