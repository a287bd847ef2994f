"""Buckets keep the order of keys and never hide one that is due; a liquidatable position is due.

Proved of the mirror; test_same_answers.py proves that the compiled code gives the same.
"""

import pytest
import z3
from planting import Claim, Form, Mutant, check, check_refuted, form_of
from symbolic import (
    Refuted,
    Truth,
    both,
    given,
    implies,
    product_is_not_negative,
    some,
    summary,
)

from python_model.modules.constants import (
    FUNDING_PRECISION,
    LONG,
    MAX_MARGIN,
    MAX_PRICE,
    MAX_SIZE,
    SHORT,
    WAD,
)
from python_model.modules.trigger_key import MANTISSA, MAX_KEY, ZERO_BUCKET

MIN_INT256, MAX_INT256 = -(2**255), 2**255 - 1
MAX_COMPRESSED = 111 * MANTISSA  # of MAX_KEY
LOWEST_BUCKET, HIGHEST_BUCKET = ZERO_BUCKET - 1 - MAX_COMPRESSED, ZERO_BUCKET + MAX_COMPRESSED
# What a side has paid per unit of size, at most (docs/spec.md, section 17).
MAX_FUNDING = 2**126 - 2**120 - 1

# Buckets


def buckets_hold_their_keys(form: Form) -> list[Truth | bool]:
    """Every key of 256 bits gets a bucket of 24 bits, between those of the two clamps. Up to
    2**126 it is at most the bucket's highest key; from -2**126 it is above the highest key of the
    bucket before. Hence `highest_key` errs towards visiting, never away from it.
    """
    key = some("key", MIN_INT256, MAX_INT256)
    bucket = form("trigger_key").call("_bucket_of", key)
    if bucket is None:
        return [False]
    highest = form("trigger_key").call("_highest_key", bucket)
    before = form("trigger_key").call("_highest_key", bucket - 1)
    return [
        both(bucket >= LOWEST_BUCKET, bucket <= HIGHEST_BUCKET, bucket < 2**24),
        highest is not None and implies(key <= MAX_KEY, key <= highest),
        before is not None and implies(key >= -MAX_KEY, before < key),
    ]


def buckets_are_adjacent(form: Form) -> list[Truth | bool]:
    """For every bucket but the two ends: its highest key is in it, the next key is in the next
    bucket, and the next bucket's highest key is higher. All buckets that a key can get.
    """
    bucket = some("bucket", LOWEST_BUCKET + 1, HIGHEST_BUCKET - 1)
    own = form("trigger_key")
    highest, following = own.call("_highest_key", bucket), own.call("_highest_key", bucket + 1)
    if highest is None or following is None:
        return [False]
    return [
        own.call("_bucket_of", highest) == bucket,
        own.call("_bucket_of", highest + 1) == bucket + 1,
        highest < following,
    ]


def lowest_undoes_compress(form: Form) -> list[Truth | bool]:
    """`_lowest` of a compressed magnitude is at most the magnitude, that of the next one is above
    it, and compresses to itself again. All magnitudes of 127 bits, more than a key can have.
    """
    own = form("trigger_key")
    magnitude = some("magnitude", 0, 2**127 - 1)
    compressed = own.call("_compress", magnitude)
    if compressed is None:
        return [False]
    lowest, following = own.call("_lowest", compressed), own.call("_lowest", compressed + 1)
    if lowest is None or following is None:
        return [False]
    return [lowest <= magnitude, magnitude < following, own.call("_compress", lowest) == compressed]


def a_due_key_is_in_a_due_bucket(form: Form) -> list[Truth | bool]:
    """key > threshold implies highest_key(bucket(key)) > threshold: for all keys of 256 bits, also
    those that are clamped, and all thresholds of prices and funding inside their bounds.
    """
    key = some("key", MIN_INT256, MAX_INT256)
    threshold = some("threshold", -2 * MAX_KEY, MAX_PRICE * FUNDING_PRECISION + MAX_FUNDING)
    given(key > threshold)
    bucket = form("trigger_key").call("_bucket_of", key)
    highest = None if bucket is None else form("trigger_key").call("_highest_key", bucket)
    return [highest is not None and highest > threshold]


# The rule


def liquidatable_is_above_the_threshold(form: Form) -> list[Truth | bool]:
    """margin + value < requirement, in the integers of the contract, implies key > threshold: both
    sides; all sizes, margins, prices, entry prices, fractions up to 1, funding of 127 bits, and all
    scales from 18 decimals to none (every integer between, powers of ten or not).

    z3 is given three products of inequalities, each true of any integers. With e the equity, m the
    requirement, T the threshold, K the key, s the size, N the notional scale and P*mu the part of
    the price that is required: s*(T - K), s*(T' - P*mu) and N*(m - 1 - e) are not negative, where
    the rest is linear. Assumed of K is the opposite of the claim; there is no such position.
    """
    fraction, scale = some("fraction", 0, WAD), some("scale", 10**18, 10**36)
    size, margin = some("size", 1, MAX_SIZE), some("margin", 0, MAX_MARGIN)
    price, entry_price = some("price", 0, MAX_PRICE), some("entry_price", 0, 2 * MAX_PRICE)
    funding, entry_funding = (
        some(name, -(2**126), 2**126) for name in ("funding", "entry_funding")
    )
    side = LONG if some("is_long", 0, 1) == 1 else SHORT
    value_scale = scale * FUNDING_PRECISION
    math, trigger = form("margin_math"), form("trigger_key")
    entry = (entry_price, entry_funding)
    value = math.call("_position_value", side, size, *entry, price, funding, value_scale)
    requirement = math.call("_fraction_of_notional_up", size, price, fraction, scale)
    key = trigger.call("_trigger_key", side, size, margin, *entry, value_scale)
    threshold = trigger.call("_threshold", side, price, fraction, funding)
    if value is None or requirement is None or key is None or threshold is None:
        return [False]
    given(margin + value < requirement)
    marked = price * FUNDING_PRECISION if side == LONG else -price * FUNDING_PRECISION
    required = marked - funding - threshold
    product_is_not_negative(size, threshold - key)
    product_is_not_negative(size, required * WAD - price * FUNDING_PRECISION * fraction)
    product_is_not_negative(scale, requirement - 1 - margin - value)
    return [key > threshold]


BUCKET_CLAIMS: list[Claim] = [
    buckets_hold_their_keys,
    buckets_are_adjacent,
    lowest_undoes_compress,
    a_due_key_is_in_a_due_bucket,
]

MUTANTS = [
    Mutant(claim, "mirror", "trigger_key", old, new)
    for claim, old, new in (
        (buckets_hold_their_keys, "_compress(-1 - clamped)", "_compress(-clamped)"),
        (buckets_hold_their_keys, "ZERO_BUCKET + 1) - 1", "ZERO_BUCKET + 1) - 2"),
        (buckets_are_adjacent, "magnitude >> exponent", "magnitude >> (exponent + 1)"),
        (buckets_are_adjacent, "bit_length() - 1 - 16", "bit_length() - 1 - 15"),
        (lowest_undoes_compress, "(compressed >> 16) - 1", "compressed >> 16"),
        (lowest_undoes_compress, "exponent * MANTISSA) <<", "exponent * MANTISSA + 1) <<"),
        (a_due_key_is_in_a_due_bucket, "min(key, MAX_KEY)", "min(key, MAX_KEY >> 1)"),
        (a_due_key_is_in_a_due_bucket, "return -1 - _lowest(", "return -2 - _lowest("),
        (liquidatable_is_above_the_threshold, "ROUNDING_UNITS = 1", "ROUNDING_UNITS = 0"),
        (liquidatable_is_above_the_threshold, "        - entry_funding", "        + entry_funding"),
        (liquidatable_is_above_the_threshold, "        - funding", "        + funding"),
    )
]


@pytest.mark.parametrize("claim", BUCKET_CLAIMS)
def test_proved_of_buckets(claim: Claim) -> None:
    check(claim, "mirror")


def monotone(form: Form) -> None:
    """x <= y implies bucket(x) <= bucket(y), for all pairs of keys of 256 bits."""
    one, two = (
        summary(
            lambda: form("trigger_key").call("_bucket_of", some("key", MIN_INT256, MAX_INT256)),
            name,
        )
        for name in ("one", "two")
    )
    solver = z3.Solver()
    x, y = z3.Int("key.1.one"), z3.Int("key.1.two")
    solver.add(one, two, x <= y, z3.Int("one") > z3.Int("two"))
    answer = solver.check()
    if answer == z3.sat:
        model = solver.model()
        raise Refuted({"x": model[x].as_long(), "y": model[y].as_long()})
    assert answer == z3.unsat


def test_buckets_are_monotone() -> None:
    monotone(form_of("mirror"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("exponent * MANTISSA +", "exponent +"),
        ("ZERO_BUCKET - 1 - _compress(-1 - clamped)", "_compress(-1 - clamped)"),
    ],
)
def test_a_bucket_out_of_order_is_found(old: str, new: str) -> None:
    broken = form_of("mirror", Mutant(monotone, "mirror", "trigger_key", old, new))
    with pytest.raises(Refuted) as found:
        monotone(broken)
    x, y = found.value.values["x"], found.value.values["y"]
    assert x <= y
    bucket_of = broken("trigger_key")
    assert bucket_of.call("_bucket_of", x) > bucket_of.call("_bucket_of", y)


def test_liquidatable_is_above_the_threshold() -> None:
    check(liquidatable_is_above_the_threshold, "mirror")


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_refuted_for(mutant: Mutant) -> None:
    check_refuted(mutant)
