"""Features are counted wherever a chain runs, and weights shift to what was rare."""

import random
from collections import Counter

import toy_vault
from featured_vault import ADAPTER

from lockstep.campaign import Plan, run_campaign
from lockstep.guidance import Rarity, Weights, boundary_table, near, outcome


def test_sides_of_a_boundary_are_indexed_by_the_distance_from_it() -> None:
    sides = near("cap")
    assert sides[-1] == "cap: one below"
    assert sides[0] == "cap: at"
    assert sides[1] == "cap: one above"


def test_the_table_has_every_side_of_a_boundary_and_nothing_else() -> None:
    table = boundary_table({"cap: at": 2, "edge: one above": 1, "open: at": 3, "settled": 7})
    assert table == {
        "cap": {"one below": 0, "at": 2, "one above": 0},
        "edge": {"one below": 0, "at": 0, "one above": 1},
        "open": {"one below": 0, "at": 3, "one above": 0},
    }


def test_a_campaign_counts_features_alike_in_one_process_and_in_two() -> None:
    plan = Plan(ADAPTER, 2_000, 3, length=250)
    one, two = run_campaign(plan).tally, run_campaign(plan, processes=2).tally
    assert one.features == two.features
    summary = one.summary()
    # The toy aims at its cap and at one unit above it.
    cap = summary["boundaries"]["cap, total less it"]
    assert cap["at"] > 0 < cap["one above"]
    assert summary["features"]["third deposit taken out"] == 8


def test_outcomes_are_features_of_every_protocol() -> None:
    tally = run_campaign(Plan(toy_vault.ADAPTER, 600, 3)).tally
    assert tally.features == {}
    reached = tally.reached()
    refused = tally.summary()["actions"]["open"]["reverts"]["over cap"]
    assert reached[outcome("open", False, "over cap")] == refused > 0
    assert sum(reached.values()) == 600


def test_rarity_draws_what_was_reached_least() -> None:
    rarity = Rarity({"often": 1.0, "rarely": 1.0, "never": 1.0})
    rarity.credit(["often"] * 99 + ["rarely"] * 4)
    rng = random.Random(1)
    drawn = Counter(rarity.draw(rng) for _ in range(5_000))
    # Weights 1/100, 1/5 and 1.
    assert drawn["never"] > 4 * drawn["rarely"] > 40 * drawn["often"] > 0


def test_rarity_ignores_what_is_no_choice_and_keeps_base_weights() -> None:
    rarity = Rarity({"heavy": 3.0, "light": 1.0})
    rarity.credit(["something else"] * 1_000)
    rng = random.Random(2)
    heavy = sum(rarity.draw(rng) == "heavy" for _ in range(4_000))
    assert 2_850 < heavy < 3_150


def share(weights: Weights, name: str) -> float:
    rng = random.Random(3)
    return sum(weights.draw(rng) == name for _ in range(4_000)) / 4_000


def test_weights_shift_to_choices_with_rare_endings_and_back() -> None:
    weights = Weights({"plain": 1.0, "odd": 1.0})
    assert 0.47 < share(weights, "odd") < 0.53
    for i in range(Weights.EVERY):
        weights.note("plain", "")
        if i % 60 == 0:
            weights.note("odd", f"reason {i}")
    # Five endings seen once each: 1 + 5 * 0.6 to 1.
    assert 0.77 < share(weights, "odd") < 0.83
    for _ in range(Weights.EVERY):
        for reason in range(0, 300, 60):
            weights.note("odd", f"reason {reason}")
    assert 0.47 < share(weights, "odd") < 0.53
