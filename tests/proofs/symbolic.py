"""Integers that stand for every value of a range: the code under proof runs on them unchanged.

A `Whole` is a polynomial over z3 integers in one normal form, with the interval it lies in. Where
the code branches on one, `paths` runs it again for each side that is possible. Nothing is rounded,
truncated or sampled: a claim that z3 finds no counterexample to on any path holds for every value.
A branch that z3 cannot exclude is walked; that may cost a proof, it cannot make a false one.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache, cached_property
from typing import Any, Union

import z3

# Work that z3 may do, in its own units, so that the answer does not depend on the machine: for a
# branch, which may stay undecided, and for a claim.
BRANCH_EFFORT = 30_000
CLAIM_EFFORT = 30_000_000
# What an effort comes to depends on where z3 begins. A claim that it gives up is begun elsewhere.
BEGINNINGS = 8

Monomial = tuple[str, ...]  # names of the variables multiplied, sorted
Number = Union[int, "Whole"]


class Refuted(AssertionError):
    """The claim is false; `values` are a counterexample."""

    def __init__(self, values: dict[str, int]) -> None:
        super().__init__(", ".join(f"{name} = {value}" for name, value in values.items()))
        self.values = values


class Undecided(Exception):
    """z3 gave up: neither proved nor refuted."""


class _Impossible(Exception):
    """What has been assumed on this path contradicts itself."""


class Path:
    """One way through the code: what was assumed, and what came out."""

    def __init__(
        self, choices: list[bool], values: dict[str, int] | None = None, tag: str = ""
    ) -> None:
        self.values = values  # of the inputs, if they are plain
        self.result: Any = None
        self.conditions: list[z3.BoolRef] = []
        self.pending: list[list[bool]] = []
        self.inputs: dict[str, Whole] = {}
        self.quotients: dict[Any, Whole] = {}
        self.origins: dict[Any, tuple[Number, int]] = {}  # of a quotient by a plain divisor
        self.factors: dict[Any, tuple[Whole, Whole]] = {}
        self._choices = choices
        self._tag = tag
        self._taken: list[bool] = []
        self._bounds: dict[Any, tuple[int, int]] = {}
        # Products of variables are variables of their own to the first; the second knows them.
        self._linear = _Questions()
        self._full = _Questions()
        self._bits: dict[Any, tuple[Number, Number]] = {}
        self.products: dict[Monomial, z3.BoolRef] = {}
        self._fresh = 0

    def assume(self, condition: z3.BoolRef) -> None:
        self.conditions.append(condition)

    def product(self, names: Monomial) -> z3.ArithRef:
        """What stands for a product of variables."""
        atom = z3.Int("*".join(names))
        if names not in self.products:
            self.products[names] = atom == z3.Product([z3.Int(name) for name in names])
            low, high = _interval({names: 1})
            self.assume(z3.And(low <= atom, atom <= high))
        return atom

    def check(self, condition: z3.BoolRef, effort: int) -> z3.CheckSatResult:
        """Whether `condition` can hold here: first without knowing what a product is."""
        answer = self._linear.ask(self.conditions, condition, effort)
        if answer == z3.unsat or not self.products:
            return answer
        return self._full.ask([*self.products.values(), *self.conditions], condition, effort)

    def decide(self, truth: "Truth") -> bool:
        """The side of a branch to walk; the other one, if possible, is left for later."""
        position = len(self._taken)
        if position < len(self._choices):
            choice = self._choices[position]
        elif truth.is_open:
            choice = True
            self.pending.append([*self._taken, False])
        else:
            choice = self.possible(truth.term)
            if choice and self.possible(_not(truth.term)):
                self.pending.append([*self._taken, False])
        self._taken.append(choice)
        truth.learn(choice)
        return choice

    def possible(self, condition: z3.BoolRef) -> bool:
        return self.check(condition, BRANCH_EFFORT) != z3.unsat

    def require(self, claims: "list[Truth | bool]") -> None:
        """Raises unless the claims hold for all values that take this path."""
        claim = z3.Not(both(*claims).term)
        answer = self.check(claim, CLAIM_EFFORT)
        for beginning in range(1, BEGINNINGS):
            if answer != z3.unknown:
                break
            self._linear, self._full = _Questions(beginning), _Questions(beginning)
            answer = self.check(claim, CLAIM_EFFORT)
        if answer == z3.unknown:
            raise Undecided
        if answer == z3.sat:
            model = (self._full if self.products else self._linear).solver.model()
            found = {name: model.eval(whole.term, True) for name, whole in self.inputs.items()}
            raise Refuted({name: value.as_long() for name, value in found.items()})

    def variable(self, name: str, low: int, high: int) -> "Whole":
        """A new variable; `name` with a number behind it."""
        self._fresh += 1
        full = f"{name}.{self._fresh}{self._tag}"
        whole = Whole({(full,): 1}, low, high)
        self.assume(_between(low, whole.items, high))
        self.narrow(whole, low, high)
        return whole

    def bits(self, one: "Whole", two: Number) -> tuple[Number, Number]:
        """The bits that two numbers share and those that one has alone: `a + b == 2 * (a & b) +
        (a ^ b)`, and neither is larger than what bits allow. No more is known of them.
        """
        key = frozenset({frozenset(_parts(one).items()), frozenset(_parts(two).items())})
        if key not in self._bits:
            (low, high), (other_low, other_high) = bounds(one), bounds(two)
            assert low >= 0
            assert other_low >= 0
            if one == two:
                self._bits[key] = (one, 0)
            else:
                limit = 1 << max(high, other_high).bit_length()
                shared = fresh("and", 0, min(high, other_high))
                alone = fresh("xor", 1, limit - 1)
                self.assume(_term(one) + _term(two) == 2 * _term(shared) + _term(alone))
                self.assume(z3.And(_term(shared) <= _term(one), _term(shared) <= _term(two)))
                self._bits[key] = (shared, alone)
        return self._bits[key]

    def narrow(self, whole: "Whole", low: int, high: int) -> None:
        """`whole` is known to lie between two bounds on this path."""
        key, offset = whole.key, whole.offset
        old_low, old_high = self._bounds.get(key, (low - offset, high - offset))
        self._bounds[key] = (max(old_low, low - offset), min(old_high, high - offset))
        if key in self.origins:
            number, divisor = self.origins[key]
            low, high = self._bounds[key]
            if isinstance(number, Whole) and (low > old_low or high < old_high):
                self.narrow(number, low * divisor, high * divisor + divisor - 1)

    def monomial_bounds(self, names: Monomial) -> tuple[int, int]:
        ends = (1, 1)
        for name in names:
            corners = [end * bound for end in ends for bound in self._bounds[_key(name)]]
            ends = (min(corners), max(corners))
        known = self._bounds.get(_key(*names), ends)
        return max(ends[0], known[0]), min(ends[1], known[1])

    def bounds(self, whole: "Whole") -> tuple[int, int]:
        low, high = whole.low, whole.high
        offset = whole.offset
        if whole.key in self._bounds:
            known = self._bounds[whole.key]
            low, high = max(low, known[0] + offset), min(high, known[1] + offset)
        if whole.negated_key in self._bounds:
            known = self._bounds[whole.negated_key]
            low, high = max(low, offset - known[1]), min(high, offset - known[0])
        if low > high:
            raise _Impossible
        return low, high


_path: Path


class _Questions:
    """A solver that is told, when asked, what has been assumed since."""

    def __init__(self, beginning: int = 0) -> None:
        self._told: set[int] = set()
        self._beginning = beginning
        self.solver: Any = None

    def ask(
        self, assumed: list[z3.BoolRef], condition: z3.BoolRef, effort: int
    ) -> z3.CheckSatResult:
        if self.solver is None:
            self.solver = z3.Solver()
            self.solver.set("random_seed", self._beginning)
        new = [item for item in assumed if item.get_id() not in self._told]
        self.solver.add(new)
        self._told.update(item.get_id() for item in new)
        self.solver.set("rlimit", effort)
        return self.solver.check(condition)


def paths(run: Callable[[], Any], tag: str = "") -> Iterator[Path]:
    """Every way through `run`; `result` is what it returned on it."""
    global _path
    pending: list[list[bool]] = [[]]
    while pending:
        _path = path = Path(pending.pop(), tag=tag)
        try:
            path.result = run()
        except _Impossible:
            assert path.check(z3.BoolVal(True), CLAIM_EFFORT) != z3.sat
            pending += path.pending
            continue
        pending += path.pending
        yield path


def prove(run: Callable[[], Any]) -> int:
    """Each claim that `run` returns (one, or a list) holds on every path; how many there were."""
    count, is_reached = 0, False
    for path in paths(run):
        path.require(_claims(path.result))
        is_reached = is_reached or path.possible(z3.BoolVal(True))
        count += 1
    assert is_reached, "no value takes any path"
    return count


def summary(run: Callable[[], Number], result: str) -> z3.BoolRef:
    """All of `run` as one formula over its inputs and `result`; variables end in that name too."""
    ways = []
    for path in paths(run, "." + result):
        ways.append(z3.And(*path.conditions, z3.Int(result) == _term(path.result)))
        assert not path.products, "only what is linear can be asked about outside its path"
    return z3.Or(ways)


def replay(run: Callable[[], Any], values: dict[str, int]) -> bool:
    """Whether the claims of `run` hold for these inputs, on plain integers."""
    global _path
    _path = Path([], values)
    return all(z3.is_true(z3.simplify(_bool(claim))) for claim in _claims(run()))


def some(name: str, low: int, high: int) -> Number:
    """Any integer between two bounds. The same name is the same integer."""
    if low == high:
        return low
    if _path.values is not None:
        assert low <= _path.values[name] <= high
        return _path.values[name]
    if name not in _path.inputs:
        _path.inputs[name] = _path.variable(name, low, high)
    return _path.inputs[name]


def _claims(result: Any) -> list[Any]:
    return list(result) if isinstance(result, Iterable) else [result]


def given(*premises: "Truth | bool") -> None:
    """What the claim is only made for. The bounds of the inputs take it up."""
    for premise in premises:
        if isinstance(premise, Truth):
            premise.learn(True)
        elif not premise:
            _path.assume(z3.BoolVal(False))
            raise _Impossible


def product_is_not_negative(first: Number, second: Number) -> None:
    """A hint: a, b >= 0 implies a * b >= 0. True of all integers, so it adds no assumption."""
    product = first * second
    _path.assume(z3.Implies(z3.And(_term(first) >= 0, _term(second) >= 0), _term(product) >= 0))


def implies(premise: "Truth | bool", claim: "Truth | bool") -> "Truth":
    """A claim that is not branched on."""
    return Truth.of(z3.Implies(_bool(premise), _bool(claim)))


def both(*claims: "Truth | bool") -> "Truth":
    return Truth.of(z3.And([_bool(claim) for claim in claims]))


def either(*claims: "Truth | bool") -> "Truth":
    return Truth.of(z3.Or([_bool(claim) for claim in claims]))


def fresh(name: str, low: int, high: int) -> Number:
    """An integer of which nothing else is known."""
    return low if low == high else _path.variable(name, low, high)


def equate(one: Number, two: Number) -> None:
    _path.assume(_term(one) == _term(two))


def same(one: Number, two: Number) -> bool:
    """Equal by form, without asking."""
    return _parts(one) == _parts(two)


def bounds(number: Number) -> tuple[int, int]:
    return (number, number) if isinstance(number, int) else _path.bounds(number)


def branch(truth: "Truth | bool") -> bool:
    return bool(truth)


class Truth:
    """Something about integers that may hold or not; asking for its `bool` branches."""

    def __init__(self, term: z3.BoolRef, whole: "Whole | None" = None, equal: bool = False) -> None:
        self.term = term
        self._whole = whole  # below zero, or equal to it
        self._equal = equal

    @property
    def is_open(self) -> bool:
        """Whether both sides are possible as far as intervals tell, and little else would."""
        if self._whole is None or len(self._whole.key) != 1:
            return False
        (names, _), *_ = self._whole.key
        return len(names) == 1

    @classmethod
    def of(cls, term: z3.BoolRef) -> "Truth":
        return cls(term)

    def __bool__(self) -> bool:
        return _path.decide(self)

    def learn(self, holds: bool) -> None:
        _path.assume(self.term if holds else _not(self.term))
        if self._whole is None:
            return
        low, high = _path.bounds(self._whole)
        if self._equal:
            if holds:
                low = high = 0
            else:
                low, high = low + (low == 0), high - (high == 0)
        elif holds:
            high = min(high, -1)
        else:
            low = max(low, 0)
        _path.narrow(self._whole, low, high)


class Whole:
    """A polynomial with integer coefficients. `low` and `high` bound it; both are finite."""

    def __init__(self, parts: dict[Monomial, int], low: int, high: int) -> None:
        self.parts = parts
        self.low = low
        self.high = high
        self.offset = parts.get((), 0)
        self.items = frozenset(parts.items())
        self.key = frozenset(item for item in parts.items() if item[0])

    @cached_property
    def negated_key(self) -> frozenset[tuple[Monomial, int]]:
        return frozenset((monomial, -factor) for monomial, factor in self.key)

    @property
    def term(self) -> z3.ArithRef:
        self.register()
        return _linear_term(self.items)

    def register(self) -> None:
        """Tells the path of the products in it."""
        for monomial, _ in self.key:
            if len(monomial) > 1 and monomial not in _path.products:
                _path.product(monomial)

    # Arithmetic of unbounded integers

    def __add__(self, other: Number) -> Number:
        parts = dict(self.parts)
        for monomial, factor in _parts(other).items():
            parts[monomial] = parts.get(monomial, 0) + factor
        (low, high), (other_low, other_high) = bounds(self), bounds(other)
        return _whole(parts, low + other_low, high + other_high)

    def __mul__(self, other: Number) -> Number:
        parts: dict[Monomial, int] = {}
        for one, factor in self.parts.items():
            for two, other_factor in _parts(other).items():
                monomial = tuple(sorted(one + two))
                parts[monomial] = parts.get(monomial, 0) + factor * other_factor
        corners = [a * b for a in bounds(self) for b in bounds(other)]
        product = _whole(parts, min(corners), max(corners))
        if isinstance(product, Whole) and isinstance(other, Whole):
            _path.factors[product.items] = (self, other)
        return product

    def __floordiv__(self, divisor: Number) -> Number:
        return _floor_div(self, divisor)

    def __rfloordiv__(self, other: int) -> Number:
        return _floor_div(other, self)

    def __mod__(self, divisor: Number) -> Number:
        return self - _floor_div(self, divisor) * divisor

    def __neg__(self) -> Number:
        return self * -1

    def __sub__(self, other: Number) -> Number:
        return self + -other

    def __rsub__(self, other: int) -> Number:
        return -self + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __lshift__(self, shift: Number) -> Number:
        return self * (1 << pin(shift))

    def __rshift__(self, shift: Number) -> Number:
        return _floor_div(self, 1 << pin(shift))

    def __rlshift__(self, other: int) -> int:
        return other << pin(self)

    def __rrshift__(self, other: int) -> int:
        return other >> pin(self)

    def __and__(self, other: Number) -> Number:
        if isinstance(other, int) and other & (other + 1) == 0:
            return self % (other + 1)
        return _path.bits(self, other)[0]

    def __xor__(self, other: Number) -> Number:
        return _path.bits(self, other)[1]

    __rand__ = __and__
    __rxor__ = __xor__

    def bit_length(self) -> int:
        """As Python's; one path for each length."""
        size = self if self >= 0 else -self
        if isinstance(size, int):
            return size.bit_length()
        least, most = 0, bounds(size)[1].bit_length()
        while least < most:
            middle = (least + most) // 2
            if size < 1 << middle:
                most = middle
            else:
                least = middle + 1
        return least

    def __abs__(self) -> Number:
        return self if self >= 0 else -self

    # Comparisons

    def __lt__(self, other: Number) -> Truth | bool:
        return _is_negative(self - other)

    def __ge__(self, other: Number) -> Truth | bool:
        return _is_negative(other - self - 1)

    def __gt__(self, other: Number) -> Truth | bool:
        return _is_negative(other - self)

    def __le__(self, other: Number) -> Truth | bool:
        return _is_negative(self - other - 1)

    def __eq__(self, other: object) -> Truth | bool:  # type: ignore[override]
        if not isinstance(other, (int, Whole)):
            return NotImplemented
        difference = self - other
        low, high = bounds(difference)
        if isinstance(difference, int) or low == high or low > 0 or high < 0:
            return low == high == 0
        return Truth(difference.term == 0, difference, equal=True)

    def __ne__(self, other: object) -> Truth | bool:  # type: ignore[override]
        equal = self == other
        return Truth(z3.Not(equal.term)) if isinstance(equal, Truth) else not equal

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        return bool(self != 0)

    def __index__(self) -> int:
        return pin(self)


def exact_quotient(number: Number, divisor: Number) -> Number | None:
    """The other factor, where `number` was made as a product with `divisor`, which is not zero."""
    factors = _path.factors.get(number.items, ()) if isinstance(number, Whole) else ()
    for index, factor in enumerate(factors):
        if same(factor, divisor):
            return factors[1 - index]
    return None


def pin(number: Number) -> int:
    """The value of a number: one path for each that it can have."""
    while isinstance(number, Whole):
        low, high = bounds(number)
        if low == high:
            return low
        middle = (low + high + 1) // 2
        branch(number < middle)
    return number


def _is_negative(number: Number) -> Truth | bool:
    low, high = bounds(number)
    if high < 0 or low >= 0:
        return high < 0
    assert isinstance(number, Whole)
    number.register()
    return Truth(_negative(number.items), number)


def _floor_div(number: Number, divisor: Number) -> Number:
    """The q with q * divisor <= number < (q + 1) * divisor, for a divisor of either sign."""
    if divisor == 0:
        raise ZeroDivisionError
    if divisor < 0:
        number, divisor = -number, -divisor
    if isinstance(number, int) and isinstance(divisor, int):
        return number // divisor
    parts = _parts(number)
    known = exact_quotient(number, divisor)
    if known is not None:
        return known
    if isinstance(divisor, int):
        # A quotient divided again is the first number divided by both.
        earlier = _path.origins.get(frozenset(parts.items()))  # its key: it has no constant
        if earlier:
            return _floor_div(earlier[0], earlier[1] * divisor)
        # What divides without rest leaves; of the others only the rests stay.
        rest = {monomial: factor % divisor for monomial, factor in parts.items()}
        low, high = _interval(rest)
        if low >= 0 and high < divisor:
            whole = {monomial: factor // divisor for monomial, factor in parts.items()}
            return _whole(whole, *_interval(whole))
    key = (frozenset(parts.items()), frozenset(_parts(divisor).items()))
    opposite = (frozenset(_parts(-number).items()), key[1])
    if opposite in _path.quotients:  # n // d = -ceil(-n / d)
        quotient = _path.quotients[opposite]
        return -quotient if -number == quotient * divisor else -quotient - 1
    if key not in _path.quotients:
        corners = [end // other for end in bounds(number) for other in bounds(divisor)]
        quotient = _path.variable("q", min(corners), max(corners))
        product = quotient * divisor
        if isinstance(product, Whole):
            _path.narrow(product, bounds(number)[0] - bounds(divisor)[1] + 1, bounds(number)[1])
        rest = number - product
        if isinstance(rest, Whole) and isinstance(divisor, int):
            rest.register()
            _path.assume(_between(0, rest.items, divisor - 1))
        else:
            _path.assume(z3.And(_term(rest) >= 0, _term(rest) < _term(divisor)))
        if isinstance(rest, Whole):
            _path.narrow(rest, 0, bounds(divisor)[1] - 1)
        _path.quotients[key] = quotient
        if isinstance(divisor, int):
            _path.origins[frozenset(_parts(quotient).items())] = (number, divisor)
    return _path.quotients[key]


def _whole(parts: dict[Monomial, int], low: int, high: int) -> Number:
    kept = {monomial: factor for monomial, factor in parts.items() if factor}
    if not any(kept):
        return kept.get((), 0)
    inner_low, inner_high = _interval(kept)
    whole = Whole(kept, max(low, inner_low), min(high, inner_high))
    low, high = _path.bounds(whole)
    return low if low == high else whole


def _interval(parts: dict[Monomial, int]) -> tuple[int, int]:
    """Bounds from those of the products in it, each by itself."""
    low = high = 0
    for monomial, factor in parts.items():
        ends = [factor * end for end in _path.monomial_bounds(monomial)]
        low, high = low + min(ends), high + max(ends)
    return low, high


def _key(*names: str) -> frozenset[tuple[Monomial, int]]:
    return frozenset({(names, 1)})


def _parts(number: Number) -> dict[Monomial, int]:
    return number.parts if isinstance(number, Whole) else ({(): number} if number else {})


def _term(number: Number) -> z3.ArithRef:
    return number.term if isinstance(number, Whole) else z3.IntVal(number)


def _bool(truth: Truth | bool) -> z3.BoolRef:
    return truth.term if isinstance(truth, Truth) else z3.BoolVal(truth)


@cache
def _linear_term(parts: frozenset[tuple[Monomial, int]]) -> z3.ArithRef:
    """A product of variables is a variable of its own, named after them."""
    terms = [
        factor * z3.Int("*".join(names)) if names else z3.IntVal(factor)
        for names, factor in sorted(parts)
    ]
    return terms[0] if len(terms) == 1 else z3.Sum(terms)


@cache
def _between(low: int, parts: frozenset[tuple[Monomial, int]], high: int) -> z3.BoolRef:
    term = _linear_term(parts)
    return z3.And(low <= term, term <= high)


@cache
def _not(term: z3.BoolRef) -> z3.BoolRef:
    return z3.Not(term)


@cache
def _negative(parts: frozenset[tuple[Monomial, int]]) -> z3.BoolRef:
    return _linear_term(parts) < 0
