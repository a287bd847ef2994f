"""Known bugs, to be planted one at a time in copies of the contracts and of the model.

A bug is a few edits of text. Contracts are compiled from the edited text, functions of the model
run the code of the edited text for as long as the bug is planted; no file is touched. A bug planted
in both forms alike is one that the comparison cannot see: an invariant has to.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import CodeType, FunctionType, ModuleType
from typing import NamedTuple

from lockstep.errors import InputError
from perp_fuzz.deployment import ROOT

MARKET = "contracts/PerpMarket.vy"
POOL = "contracts/LiquidityPool.vy"
FEED = "contracts/PriceFeed.vy"
FIXED_POINT = "contracts/modules/fixed_point.vy"
FUNDING_INDEX = "contracts/modules/funding_index.vy"
MARGIN_MATH = "contracts/modules/margin_math.vy"
TOKEN_TRANSFER = "contracts/modules/token_transfer.vy"
TRIGGER_INDEX = "contracts/modules/trigger_index.vy"
TRIGGER_KEY = "contracts/modules/trigger_key.vy"
MODEL_EVM = "python_model/evm.py"
MODEL_MARKET = "python_model/perp_market.py"
MODEL_POOL = "python_model/liquidity_pool.py"
MODEL_FUNDING_INDEX = "python_model/modules/funding_index.py"
MODEL_MARGIN_MATH = "python_model/modules/margin_math.py"
MODEL_TRIGGER_INDEX = "python_model/modules/trigger_index.py"
MODEL_TRIGGER_KEY = "python_model/modules/trigger_key.py"


class SourceMoved(InputError):
    """The text that a bug replaces is no longer there, or no longer as often."""


class Edit(NamedTuple):
    file: str
    old: str
    new: str
    times: int = 1  # how often `old` occurs; every occurrence is replaced


class Bug(NamedTuple):
    id: str
    category: str
    sentence: str
    edits: tuple[Edit, ...]
    is_edge: bool = False  # only a value exactly on an edge, or one unit off, shows it

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(edit.file for edit in self.edits))

    @property
    def where(self) -> str:
        """contract, model, or both."""
        in_model = [file.startswith("python_model/") for file in self.files]
        return "model" if all(in_model) else "both" if any(in_model) else "contract"

    def texts(self) -> dict[str, str]:
        """The edited files, whole, by path."""
        texts: dict[str, str] = {}
        for edit in self.edits:
            path = ROOT / edit.file
            text = texts.get(edit.file) or (path.read_text() if path.exists() else "")
            found = text.count(edit.old)
            if found != edit.times:
                raise SourceMoved(
                    f"the source moved: bug {self.id} no longer applies: {edit.file} has "
                    f"{edit.old.strip()!r} {found} times, not {edit.times}; edit the bug"
                )
            texts[edit.file] = text.replace(edit.old, edit.new)
        return texts


@contextmanager
def planted(bug: Bug) -> Iterator[dict[str, str]]:
    """Plants the model's part of a bug for the duration; gives the contracts' part to compile."""
    texts = bug.texts()
    contracts = {file: text for file, text in texts.items() if file.startswith("contracts/")}
    model = {file: text for file, text in texts.items() if file not in contracts}
    before: list[tuple[FunctionType, CodeType]] = []
    try:
        for file, text in model.items():
            before += _plant(file, text)
        yield contracts
    finally:
        for function, code in before:
            function.__code__ = code


def _plant(file: str, text: str) -> list[tuple[FunctionType, CodeType]]:
    """Gives the functions of a module the code of `text`; their old code.

    Swapping the code keeps the functions themselves, whoever has imported them.
    """
    module = import_module(file.removesuffix(".py").replace("/", "."))
    changed = dict(_codes(compile(text, str(module.__file__), "exec")))
    before = []
    for function in _functions(module):
        code = changed[function.__qualname__]
        if _content(code) != _content(function.__code__):
            before.append((function, function.__code__))
            function.__code__ = code
    if not before:
        raise InputError(f"the edit of {file} changes no function: nothing was planted")
    return before


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    """Functions and methods written in a module, without their decorators."""
    owners = [module, *(v for v in vars(module).values() if inspect.isclass(v))]
    for owner in owners:
        for value in vars(owner).values():
            function = inspect.unwrap(value) if inspect.isfunction(value) else None
            if function is not None and function.__code__.co_filename == module.__file__:
                yield function


def _codes(code: CodeType) -> Iterator[tuple[str, CodeType]]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant.co_qualname, constant
            yield from _codes(constant)


def _content(code: CodeType) -> tuple[object, ...]:
    """What code does, without the lines it stands on."""
    constants = [_content(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.co_code, code.co_names, code.co_varnames, constants


def choose(names: Sequence[str], bugs: Sequence[Bug]) -> list[Bug]:
    """The bugs of these ids, in the order of the table."""
    known = [bug.id for bug in bugs]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"no bug is called {', '.join(unknown)}; the ids are {', '.join(known)}")
    return [bug for bug in bugs if bug.id in names]


def check_texts(bugs: Sequence[Bug]) -> None:
    """Raises SourceMoved if a bug does not apply to today's sources."""
    for bug in bugs:
        bug.texts()


def _bug(
    id: str, category: str, sentence: str, file: str, old: str, new: str, is_edge: bool = False
) -> Bug:
    return Bug(id, category, sentence, (Edit(file, old, new),), is_edge)


def _edge(id: str, category: str, sentence: str, file: str, old: str, new: str) -> Bug:
    return _bug(id, category, sentence, file, old, new, is_edge=True)


# Files a position under the key of another: of what it was before.
_ATTACH_AS = (
    Edit(
        MARKET,
        "def _attach(position_id: uint256, position: IPerpMarket.Position):\n",
        """def _attach(position_id: uint256, position: IPerpMarket.Position):
    self._attach_as(position_id, position, position)


@internal
def _attach_as(
    position_id: uint256, position: IPerpMarket.Position, before: IPerpMarket.Position
):
""",
    ),
    Edit(
        MARKET,
        "    ring: uint256 = self._ring_of(position)\n    head_id",
        "    ring: uint256 = self._ring_of(before)\n    head_id",
    ),
)


def _unfiled(id: str, action: str, *edits: tuple[str, str]) -> Bug:
    return Bug(
        id,
        "key not re-filed",
        f"{action} leaves the position in the ring of its old key",
        (*(Edit(MARKET, old, new) for old, new in edits), *_ATTACH_AS),
    )


_DOWN = "fixed_point._mul_div_down({}, {}, NOTIONAL_SCALE * constants.WAD)"

ROUNDING = (
    _bug(
        "value-ceil",
        "rounding",
        "a position's value is rounded up, in the trader's favour",
        MARGIN_MATH,
        "return fixed_point._signed_div_floor(convert(size, int256) * per_unit, value_scale)",
        "return fixed_point._signed_div_ceil(convert(size, int256) * per_unit, value_scale)",
    ),
    _bug(
        "floor-truncates",
        "rounding",
        "the signed division truncates towards zero, as Vyper's own does",
        FIXED_POINT,
        "        quotient = unsafe_sub(quotient, 1)\n",
        "        pass\n",
    ),
    _bug(
        "maintenance-down",
        "rounding",
        "the maintenance requirement is rounded down",
        MARKET,
        """    return equity, self._fraction_of_notional_up(
        position.size, marks.price, PARAMS.tiers[position.tier].maintenance_fraction
    )
""",
        "    return equity, "
        + _DOWN.format(
            "position.size * marks.price", "PARAMS.tiers[position.tier].maintenance_fraction"
        )
        + "\n",
    ),
    _bug(
        "initial-down",
        "rounding",
        "the initial requirement is rounded down",
        MARKET,
        """    requirement: uint256 = self._fraction_of_notional_up(
        position.size, marks.price, PARAMS.tiers[position.tier].initial_fraction
    )
""",
        "    requirement: uint256 = "
        + _DOWN.format(
            "position.size * marks.price", "PARAMS.tiers[position.tier].initial_fraction"
        )
        + "\n",
    ),
    _bug(
        "fee-down",
        "rounding",
        "the trading fee is rounded down",
        MARKET,
        "return fill_price, self._fraction_of_notional_up(size, fill_price, rate)",
        "return fill_price, " + _DOWN.format("size * fill_price", "rate"),
    ),
    _bug(
        "penalty-down",
        "rounding",
        "the liquidation penalty is rounded down",
        MARKET,
        "return self._fraction_of_notional_up(size, price, PARAMS.liquidation_penalty)",
        "return " + _DOWN.format("size * price", "PARAMS.liquidation_penalty"),
    ),
    _bug(
        "buy-fill-down",
        "rounding",
        "who buys pays a fill price rounded down",
        MARGIN_MATH,
        "return fixed_point._mul_div_up(price, factor, doubled_scale)",
        "return fixed_point._mul_div_down(price, factor, doubled_scale)",
    ),
    _bug(
        "sell-fill-up",
        "rounding",
        "who sells gets a fill price rounded up",
        MARGIN_MATH,
        "return fixed_point._mul_div_down(price, factor, doubled_scale)",
        "return fixed_point._mul_div_up(price, factor, doubled_scale)",
    ),
    _bug(
        "index-step-floor",
        "rounding",
        "the step of a funding index is rounded down",
        FUNDING_INDEX,
        "return fixed_point._signed_div_ceil(rate * convert(price * elapsed, int256)",
        "return fixed_point._signed_div_floor(rate * convert(price * elapsed, int256)",
    ),
    _bug(
        "funding-rate-up",
        "rounding",
        "the magnitude of the funding rate is rounded up",
        FUNDING_INDEX,
        "magnitude: uint256 = fixed_point._mul_div_down(",
        "magnitude: uint256 = fixed_point._mul_div_up(",
    ),
    _bug(
        "utilisation-rate-down",
        "rounding",
        "the utilisation rate is rounded down",
        FUNDING_INDEX,
        "return fixed_point._mul_div_up(reserved, max_rate",
        "return fixed_point._mul_div_down(reserved, max_rate",
    ),
    _bug(
        "average-price-down",
        "rounding",
        "a long's average entry price is rounded down",
        MARGIN_MATH,
        "return fixed_point._mul_div_up(cost, 1, size + added_size)",
        "return fixed_point._mul_div_down(cost, 1, size + added_size)",
    ),
    _bug(
        "average-funding-ceil",
        "rounding",
        "the average entry funding is rounded up",
        MARGIN_MATH,
        """    return fixed_point._signed_div_floor(
        convert(size, int256) * entry_funding""",
        """    return fixed_point._signed_div_ceil(
        convert(size, int256) * entry_funding""",
    ),
    _bug(
        "partial-size-up",
        "rounding",
        "what may stay open after a partial liquidation is rounded up",
        MARGIN_MATH,
        """    return fixed_point._mul_div_down(
        equity - full_penalty,""",
        """    return fixed_point._mul_div_up(
        equity - full_penalty,""",
    ),
    _bug(
        "reward-up",
        "rounding",
        "the keeper's reward is rounded up",
        MARKET,
        "reward: uint256 = fixed_point._mul_div_down(penalty, PARAMS.keeper_share",
        "reward: uint256 = fixed_point._mul_div_up(penalty, PARAMS.keeper_share",
    ),
    _bug(
        "minted-shares-up",
        "rounding",
        "the shares of a deposit are rounded up",
        POOL,
        "return fixed_point._mul_div_down(\n        assets, erc4626.erc20.totalSupply",
        "return fixed_point._mul_div_up(\n        assets, erc4626.erc20.totalSupply",
    ),
    _bug(
        "mint-price-down",
        "rounding",
        "the price of minted shares is rounded down",
        POOL,
        "return fixed_point._mul_div_up(\n        shares, total + VIRTUAL_ASSETS",
        "return fixed_point._mul_div_down(\n        shares, total + VIRTUAL_ASSETS",
    ),
    _bug(
        "pool-profit-floor",
        "rounding",
        "the traders' profit is rounded down where the pool pays",
        MARKET,
        "profit_up=fixed_point._signed_div_ceil(profit, VALUE_SCALE)",
        "profit_up=fixed_point._signed_div_floor(profit, VALUE_SCALE)",
    ),
    _bug(
        "key-without-rounding-units",
        "rounding",
        "the trigger key forgets the token unit by which the integer rule rounds",
        TRIGGER_KEY,
        "ROUNDING_UNITS: constant(int256) = 1",
        "ROUNDING_UNITS: constant(int256) = 0",
    ),
)

EDGES = (
    _edge(
        "liquidation-rule",
        "comparison",
        "equity equal to the requirement is liquidatable",
        MARKET,
        "return equity < convert(requirement, int256)",
        "return equity <= convert(requirement, int256)",
    ),
    _edge(
        "initial-margin-exact",
        "comparison",
        "equity equal to the initial requirement is not enough",
        MARKET,
        "errors._require(equity >= convert(requirement, int256), errors.INSUFFICIENT_MARGIN)",
        "errors._require(equity > convert(requirement, int256), errors.INSUFFICIENT_MARGIN)",
    ),
    _edge(
        "tier-end",
        "comparison",
        "the last size of a tier falls into the next",
        MARKET,
        "if size <= PARAMS.tiers[tier].max_size:",
        "if size < PARAMS.tiers[tier].max_size:",
    ),
    _edge(
        "open-interest-cap",
        "comparison",
        "a side may not fill its cap to the last unit",
        MARKET,
        "side_size <= PARAMS.max_open_interest",
        "side_size < PARAMS.max_open_interest",
    ),
    _edge(
        "skew-cap",
        "comparison",
        "the skew may exceed its cap by one unit",
        MARKET,
        "side_size <= other_size + PARAMS.max_skew",
        "side_size <= other_size + PARAMS.max_skew + 1",
    ),
    _edge(
        "minimum-size",
        "comparison",
        "a position of exactly the minimum size is refused",
        MARKET,
        "return size < PARAMS.min_size or (",
        "return size <= PARAMS.min_size or (",
    ),
    _edge(
        "minimum-rest",
        "comparison",
        "reducing may leave one unit less than the minimum size",
        MARKET,
        "not self._is_too_small(position.size - size, marks.price)",
        "not self._is_too_small(position.size - size + 1, marks.price)",
    ),
    _edge(
        "reduce-whole",
        "comparison",
        "reducing by the whole size is refused for another reason",
        MARKET,
        "errors._require(size < position.size, errors.EXCEEDS_POSITION)",
        "errors._require(size <= position.size, errors.EXCEEDS_POSITION)",
    ),
    _edge(
        "staleness",
        "comparison",
        "a price of exactly the greatest age is stale",
        MARKET,
        "marks.price_time + PARAMS.max_price_age >= block.timestamp",
        "marks.price_time + PARAMS.max_price_age > block.timestamp",
    ),
    _edge(
        "reserve",
        "comparison",
        "the pool's cash may not be reserved to the last unit",
        MARKET,
        "reserved + (self._owed >> 128) <= staticcall pool.cash()",
        "reserved + (self._owed >> 128) < staticcall pool.cash()",
    ),
    _edge(
        "acceptable-price-buy",
        "comparison",
        "a buyer's acceptable price itself is not accepted",
        MARKET,
        "is_acceptable: bool = fill_price <= acceptable_price",
        "is_acceptable: bool = fill_price < acceptable_price",
    ),
    _edge(
        "slippage-sell",
        "comparison",
        "a seller is filled one unit below the acceptable price",
        MARKET,
        "is_acceptable = fill_price >= acceptable_price",
        "is_acceptable = fill_price + 1 >= acceptable_price",
    ),
    _edge(
        "maker-fee-balanced",
        "comparison",
        "a purchase whose average skew is zero gets the maker's fee",
        MARKET,
        "if doubled_skew < 0:",
        "if doubled_skew <= 0:",
    ),
    _edge(
        "sweep-visits",
        "comparison",
        "a sweep looks at one position more than it may",
        MARKET,
        "if sweep.visits == max_visits:",
        "if sweep.visits > max_visits:",
    ),
    _edge(
        "sweep-last-look",
        "comparison",
        "a sweep that used all its visits on one list does not see that more are due",
        MARKET,
        "for _: uint256 in range(constants.MAX_VISITS + 1):",
        "for _: uint256 in range(constants.MAX_VISITS):",
    ),
    _edge(
        "bucket-due",
        "comparison",
        "a long's bucket counts as due by its lowest key instead of its highest",
        TRIGGER_KEY,
        "self._lowest(bucket - ZERO_BUCKET + 1)",
        "self._lowest(bucket - ZERO_BUCKET)",
    ),
    _edge(
        "bucket-due-short",
        "comparison",
        "a short's bucket counts as due by the highest key of the bucket below",
        TRIGGER_KEY,
        "self._lowest(ZERO_BUCKET - 1 - bucket)",
        "self._lowest(ZERO_BUCKET - bucket)",
    ),
    _edge(
        "partial-minimum",
        "comparison",
        "a partial liquidation may not leave exactly the minimum size",
        MARKET,
        "if self._is_too_small(size, marks.price) or size >= position.size:",
        "if size == PARAMS.min_size or self._is_too_small(size, marks.price) "
        "or size >= position.size:",
    ),
    _edge(
        "margin-to-zero",
        "comparison",
        "taking out the whole margin is refused for another reason",
        MARKET,
        "errors._require(margin + added > taken, errors.INSUFFICIENT_MARGIN)",
        "errors._require(margin + added >= taken, errors.INSUFFICIENT_MARGIN)",
    ),
    _edge(
        "largest-amount",
        "comparison",
        "the largest amount is refused",
        MARKET,
        "errors._require(amount <= constants.MAX_MARGIN, errors.AMOUNT_TOO_LARGE)",
        "errors._require(amount < constants.MAX_MARGIN, errors.AMOUNT_TOO_LARGE)",
    ),
    _edge(
        "third-side",
        "comparison",
        "side 2 passes the check of the side",
        MARKET,
        "errors._require(side <= constants.SHORT, errors.UNKNOWN_SIDE)",
        "errors._require(side <= constants.SHORT + 1, errors.UNKNOWN_SIDE)",
    ),
    _edge(
        "last-id",
        "comparison",
        "the newest position, once closed, counts as never opened",
        MARKET,
        "position_id > 0 and position_id <= self._book & MASK_64",
        "position_id > 0 and position_id < self._book & MASK_64",
    ),
    _edge(
        "withdrawal-limit",
        "comparison",
        "a withdrawal of exactly the limit is refused",
        POOL,
        "assets <= self._withdrawal_limit(owner, terms)",
        "assets < self._withdrawal_limit(owner, terms)",
    ),
    _edge(
        "redemption-limit",
        "comparison",
        "one share more than the limit can be redeemed",
        POOL,
        "shares <= self._redemption_limit(owner, terms)",
        "shares <= self._redemption_limit(owner, terms) + 1",
    ),
    _edge(
        "exact-allowance",
        "comparison",
        "an allowance of exactly the amount is too low",
        TOKEN_TRANSFER,
        "staticcall token.allowance(sender, self) >= amount",
        "staticcall token.allowance(sender, self) > amount",
    ),
    _edge(
        "price-not-newer",
        "comparison",
        "a second price of the same time is taken",
        FEED,
        "price_time > self._latest >> 88",
        "price_time >= self._latest >> 88",
    ),
    _edge(
        "price-delay",
        "comparison",
        "a price of exactly the greatest delay is refused",
        FEED,
        "price_time + MAX_DELAY >= block.timestamp",
        "price_time + MAX_DELAY > block.timestamp",
    ),
    _edge(
        "price-one-second-ahead",
        "comparison",
        "a price of the next second is taken",
        FEED,
        "price_time <= block.timestamp",
        "price_time <= block.timestamp + 1",
    ),
)

ACCRUAL = (
    _bug(
        "accrual-not-stored",
        "accrual",
        "what was accrued is used but not stored",
        MARKET,
        "    marks: Marks = self._accrued()\n    self._store_marks(marks)\n    return marks\n",
        "    marks: Marks = self._accrued()\n    return marks\n",
    ),
    _bug(
        "accrual-doubled",
        "accrual",
        "the time of the accrual is not moved, so the same seconds are charged again",
        MARKET,
        "        marks.accrued_at = block.timestamp\n",
        "",
    ),
    _bug(
        "deposit-without-accrual",
        "accrual",
        "the pool's cash changes without accruing first",
        POOL,
        "    extcall self.market.accrue()\n",
        "",
    ),
    _bug(
        "withdrawal-without-accrual",
        "accrual",
        "paying claims changes the pool's cash without accruing first",
        MARKET,
        "    self._settle_marks()\n    claim: uint256",
        "    claim: uint256",
    ),
    _bug(
        "backlog-without-accrual",
        "accrual",
        "a backlog is worked off without accruing first",
        MARKET,
        """    marks: Marks = self._settle_marks()
    sweep: Sweep""",
        """    marks: Marks = self._load_marks()
    sweep: Sweep""",
    ),
    _bug(
        "utilisation-ignored",
        "accrual",
        "the funding index leaves out the utilisation fee",
        FUNDING_INDEX,
        "    rate += convert(utilisation_rate, int256)\n",
        "",
    ),
)

REFILING = (
    _unfiled(
        "add-margin-not-refiled",
        "adding margin",
        (
            """    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, amount, 0)
    self._attach(position_id, position)
""",
            """    before: IPerpMarket.Position = position
    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, amount, 0)
    self._attach_as(position_id, position, before)
""",
        ),
    ),
    _unfiled(
        "remove-margin-not-refiled",
        "removing margin",
        (
            """    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, 0, amount)
    self._require_initial_margin(position, marks)
    self._attach(position_id, position)
""",
            """    before: IPerpMarket.Position = position
    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, 0, amount)
    self._require_initial_margin(position, marks)
    self._attach_as(position_id, position, before)
""",
        ),
    ),
    _unfiled(
        "increase-not-refiled",
        "increasing",
        (
            """    self._attach(position_id, position)
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionIncreased(
""",
            """    if before.size > 0:
        self._attach_as(position_id, position, before)
    else:
        self._attach(position_id, position)
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionIncreased(
""",
        ),
    ),
    _unfiled(
        "reduce-not-refiled",
        "reducing",
        (
            """    self._detach(position_id, position)
    balance: uint256 = 0
""",
            """    before: IPerpMarket.Position = position
    self._detach(position_id, position)
    balance: uint256 = 0
""",
        ),
        (
            """    self._attach(position_id, position)
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionReduced(
""",
            """    self._attach_as(position_id, position, before)
    self._add_to_ledgers(0, fee)
    log IPerpMarket.PositionReduced(
""",
        ),
    ),
    _unfiled(
        "partial-liquidation-not-refiled",
        "a partial liquidation",
        (
            "        self._attach(position_id, rest)\n",
            "        self._attach_as(position_id, rest, position)\n",
        ),
    ),
)

INDEX = (
    _bug(
        "value-wrong-index",
        "wrong side's index",
        "a position's value is taken with the funding index of the other side",
        MARKET,
        "        marks.funding[position.side],\n        VALUE_SCALE,",
        "        marks.funding[constants.SHORT - position.side],\n        VALUE_SCALE,",
    ),
    _bug(
        "entry-wrong-index",
        "wrong side's index",
        "a position enters at the funding index of the other side",
        MARKET,
        "position.size, position.entry_funding, size, marks.funding[position.side]",
        "position.size, position.entry_funding, size, "
        "marks.funding[constants.SHORT - position.side]",
    ),
    _bug(
        "threshold-wrong-index",
        "wrong side's index",
        "the sweep of the shorts uses the threshold of the longs' funding index",
        MARKET,
        "PARAMS.tiers[tier].maintenance_fraction, marks.funding[side]\n",
        "PARAMS.tiers[tier].maintenance_fraction, marks.funding[constants.LONG]\n",
    ),
    _bug(
        "detach-links-swapped",
        "neighbour links",
        "leaving a ring links the two neighbours the wrong way round",
        MARKET,
        "self._link(position.previous_id, position.next_id)",
        "self._link(position.next_id, position.previous_id)",
    ),
    _bug(
        "detach-keeps-head",
        "neighbour links",
        "the head of a ring leaves it and stays its head",
        MARKET,
        """        if self._ring_heads[ring] == position_id:
            self._ring_heads[ring] = position.next_id
""",
        "",
    ),
    _bug(
        "attach-after-wrong-neighbour",
        "neighbour links",
        "entering a ring links behind the head's successor instead of its predecessor",
        MARKET,
        "self._link((self._positions[head_id][0] >> 176) & MASK_40, position_id)",
        "self._link((self._positions[head_id][0] >> 216) & MASK_40, position_id)",
    ),
    _bug(
        "leaf-bit-kept",
        "bitmap",
        "the bit of a bucket that became empty is not cleared",
        TRIGGER_INDEX,
        "leaf: uint256 = self._leaves[leaf_id] ^ (1 << (ring & 255))",
        "leaf: uint256 = self._leaves[leaf_id]",
    ),
    _bug(
        "middle-bit-kept",
        "bitmap",
        "the bit of a leaf that became empty is not cleared",
        TRIGGER_INDEX,
        "middle: uint256 = self._middles[middle_id] ^ (1 << (leaf_id & 255))",
        "middle: uint256 = self._middles[middle_id]",
    ),
    _bug(
        "top-bit-kept",
        "bitmap",
        "the bit of a middle word that became empty is not cleared",
        TRIGGER_INDEX,
        "            self._tops[ring >> 24] ^= 1 << (middle_id & 255)\n",
        "            pass\n",
    ),
    _edge(
        "search-finds-itself",
        "bitmap",
        "the search for the next ring looks one bit too high and finds the ring itself",
        TRIGGER_INDEX,
        "self._leaves[leaf_id] & ((1 << (ring & 255)) - 1)",
        "self._leaves[leaf_id] & ((2 << (ring & 255)) - 1)",
    ),
    _edge(
        "search-skips-neighbour",
        "bitmap",
        "the search for the next ring looks one bit too low and misses the bucket below",
        TRIGGER_INDEX,
        "self._leaves[leaf_id] & ((1 << (ring & 255)) - 1)",
        "self._leaves[leaf_id] & (((1 << (ring & 255)) - 1) >> 1)",
    ),
    _edge(
        "search-skips-leaf",
        "bitmap",
        "the search for the next leaf looks one bit too low and misses the leaf below",
        TRIGGER_INDEX,
        "self._middles[middle_id] & ((1 << (leaf_id & 255)) - 1)",
        "self._middles[middle_id] & (((1 << (leaf_id & 255)) - 1) >> 1)",
    ),
    _bug(
        "worst-kept-on-removal",
        "worst cache",
        "removing the worst ring leaves it cached as the worst",
        TRIGGER_INDEX,
        "        self._set_worst_ring(ring >> 24, self._next_ring(ring))\n",
        "        pass\n",
    ),
    _bug(
        "worst-kept-on-insertion",
        "worst cache",
        "a ring worse than the cached one is not cached",
        TRIGGER_INDEX,
        "        self._set_worst_ring(ring >> 24, ring + 1)\n",
        "        pass\n",
    ),
    _bug(
        "seen-stamp-old",
        "epoch",
        "a healthy position is marked seen with the epoch before",
        MARKET,
        "self._store_sizes(position_id, position.size, position.margin, marks.epoch)",
        "self._store_sizes(position_id, position.size, position.margin, marks.epoch - 1)",
    ),
    _bug(
        "price-keeps-epoch",
        "epoch",
        "a new price in the second of the last accrual does not change the epoch",
        MARKET,
        "        marks.price_time = price_time\n        marks.epoch += 1\n",
        "        marks.price_time = price_time\n",
    ),
    _bug(
        "seen-not-moved",
        "epoch",
        "a healthy position is marked seen but stays first in its ring",
        MARKET,
        "                    self._ring_heads[ring] = position.next_id\n    return sweep",
        "    return sweep",
    ),
    _bug(
        "backlog-flag-kept",
        "backlog",
        "the backlog flag is set but never cleared",
        MARKET,
        "if sweep.has_backlog != self._has_backlog():",
        "if sweep.has_backlog and not self._has_backlog():",
    ),
)

LEDGERS = (
    _bug(
        "entry-funding-not-added",
        "aggregate",
        "a position's entry funding is not added to its side's sum",
        MARKET,
        "    self._entry_fundings[position.side] += convert(position.size, int256) "
        "* position.entry_funding\n",
        "",
    ),
    _bug(
        "entry-cost-not-removed",
        "aggregate",
        "a position's entry cost stays in its side's sum",
        MARKET,
        "    self._entry_costs[position.side] -= position.size * position.entry_price\n",
        "",
    ),
    _bug(
        "reserve-not-released",
        "reserve",
        "the size of a position that leaves stays in the open interest and its reserve",
        MARKET,
        "    self._sizes -= position.size << (104 * position.side)\n",
        "",
    ),
    _bug(
        "claims-not-released",
        "reserve",
        "a claim that was paid stays reserved in the pool",
        MARKET,
        "self._store_owed((owed & MASK_128) - credit, (owed >> 128) - paid)",
        "self._store_owed((owed & MASK_128) - credit, owed >> 128)",
    ),
    _bug(
        "claim-not-recorded",
        "claims",
        "profit the pool cannot pay is not recorded for its owner",
        MARKET,
        "        self.claim_of[owner] += claim\n",
        "",
    ),
    _bug(
        "closing-fee-to-insurance",
        "fee to the wrong ledger",
        "the fee of a close goes to the insurance reserve",
        MARKET,
        "    payout: uint256 = balance - fee\n    self._add_to_ledgers(0, fee)\n",
        "    payout: uint256 = balance - fee\n    self._add_to_ledgers(fee, 0)\n",
    ),
    _bug(
        "penalty-to-fees",
        "fee to the wrong ledger",
        "the penalty of a liquidation goes to the fees",
        MARKET,
        "self._add_to_ledgers(penalty - reward, 0)",
        "self._add_to_ledgers(0, penalty - reward)",
    ),
    _bug(
        "insurance-overused",
        "insurance",
        "the insurance reserve also pays a bankrupt position's penalty",
        MARKET,
        "insurance_used = min(self._ledgers & MASK_128, shortfall)",
        "insurance_used = min(self._ledgers & MASK_128, "
        "shortfall + self._penalty(size, marks.price))",
    ),
    _bug(
        "insurance-underused",
        "insurance",
        "a shortfall above the insurance reserve is not paid from it at all",
        MARKET,
        "            insurance_used = min(self._ledgers & MASK_128, shortfall)\n",
        "            if self._ledgers & MASK_128 >= shortfall:\n"
        "                insurance_used = shortfall\n",
    ),
    _bug(
        "bad-debt-not-recorded",
        "bad debt",
        "what neither margin nor insurance pays is not recorded",
        MARKET,
        "            self.bad_debt += bad_debt\n",
        "",
    ),
    _bug(
        "bad-debt-sent-to-pool",
        "bad debt",
        "the pool is sent bad debt, out of the others' margin",
        MARKET,
        "pool_gain = convert(-value, uint256) - bad_debt",
        "pool_gain = convert(-value, uint256)",
    ),
    _bug(
        "reward-to-caller",
        "reward",
        "the rewards of a sweep go to the caller instead of the recipient",
        MARKET,
        "self._add_credit(recipient, sweep.reward)",
        "self._add_credit(msg.sender, sweep.reward)",
    ),
    _bug(
        "reward-to-owner",
        "reward",
        "the reward of a single liquidation goes to the position's owner",
        MARKET,
        "    self._add_credit(msg.sender, reward)\n",
        "    self._add_credit(position.owner, reward)\n",
    ),
)

REVERTS = (
    _bug(
        "owner-unchecked",
        "revert missing",
        "anyone may act on any position",
        MARKET,
        "    errors._require(position.owner == msg.sender, errors.NOT_OWNER)\n",
        "",
    ),
    _bug(
        "backlog-unchecked",
        "revert missing",
        "risk can be added during a backlog",
        MARKET,
        "    errors._require(not self._has_backlog(), errors.BACKLOG)\n",
        "",
    ),
    _bug(
        "freshness-unchecked",
        "revert missing",
        "trades are settled at a stale price",
        MARKET,
        "    errors._require(self._is_fresh(marks), errors.STALE_PRICE)\n",
        "",
    ),
    _bug(
        "pool-open-to-all",
        "revert missing",
        "anyone may have the pool pay a profit",
        POOL,
        """    errors._require(msg.sender == self.market.address, errors.NOT_MARKET)
    paid:""",
        "    paid:",
    ),
    _bug(
        "lock-not-taken",
        "revert missing",
        "a token that calls back may re-enter the market",
        MARKET,
        "    self._locked = True\n",
        "    self._locked = False\n",
    ),
    _bug(
        "short-credit-unchecked",
        "revert missing",
        "a token that credits less than was sent is accepted",
        TOKEN_TRANSFER,
        "    errors._require(staticcall token.balanceOf(self) >= before + amount, "
        "errors.CREDITED_LESS)\n",
        "",
    ),
    _bug(
        "healthy-returns",
        "state kept after a revert",
        "liquidating a healthy position returns early instead of reverting",
        MARKET,
        "    errors._require(self._is_liquidatable(position, marks), errors.HEALTHY)\n",
        "    if not self._is_liquidatable(position, marks):\n"
        "        self._exit()\n        return\n",
    ),
    _bug(
        "nothing-to-withdraw-returns",
        "state kept after a revert",
        "withdrawing nothing returns zero instead of reverting, and keeps the accrual",
        MARKET,
        "    errors._require(credit + paid > 0, errors.NOTHING_TO_WITHDRAW)\n",
        "    if credit + paid == 0:\n        self._exit()\n        return 0\n",
    ),
)

EVENTS = (
    _bug(
        "event-reward",
        "event field",
        "PositionLiquidated states the penalty as the reward",
        MARKET,
        "        reward=reward,\n",
        "        reward=penalty,\n",
    ),
    _bug(
        "event-funding-short",
        "event field",
        "PriceUpdated states the longs' funding index for both sides",
        MARKET,
        "funding_short=marks.funding[constants.SHORT]",
        "funding_short=marks.funding[constants.LONG]",
    ),
    _bug(
        "event-owner",
        "event field",
        "PositionLiquidated names the caller as the owner",
        MARKET,
        "        owner=position.owner,\n        size=size,\n        price=marks.price,",
        "        owner=msg.sender,\n        size=size,\n        price=marks.price,",
    ),
)

MODEL = (
    _bug(
        "model-no-rollback",
        "state kept after a revert",
        "a call that reverts keeps what it had changed",
        MODEL_EVM,
        "        except BaseException:\n            self._restore(saved)\n            raise\n",
        "        except BaseException:\n            raise\n",
    ),
    _bug(
        "model-rollback-order",
        "state kept after a revert",
        "a word that a reverting call wrote twice gets the value between",
        MODEL_EVM,
        "for storage, key, old in reversed(self.writes):",
        "for storage, key, old in self.writes:",
    ),
    _edge(
        "model-liquidation-rule",
        "comparison",
        "equity equal to the requirement is liquidatable",
        MODEL_MARKET,
        "return equity < requirement",
        "return equity <= requirement",
    ),
    _bug(
        "model-burned-shares-down",
        "rounding",
        "the shares burned by a withdrawal are rounded down",
        MODEL_POOL,
        "return fixed_point._mul_div_up(\n            assets, self.totalSupply",
        "return fixed_point._mul_div_down(\n            assets, self.totalSupply",
    ),
    _bug(
        "model-funding-sign",
        "wrong side's index",
        "shorts pay the funding that longs pay",
        MODEL_FUNDING_INDEX,
        "rate = funding_rate if side == constants.LONG else -funding_rate",
        "rate = funding_rate",
    ),
    _bug(
        "model-seen-not-moved",
        "epoch",
        "a healthy position is marked seen but stays first in its ring",
        MODEL_MARKET,
        "                        self._ring_heads[ring] = position.next_id\n        return sweep",
        "        return sweep",
    ),
    _bug(
        "model-insurance-kept",
        "insurance",
        "what the insurance reserve paid stays in it",
        MODEL_MARKET,
        "                self._insurance -= insurance_used\n",
        "",
    ),
    _edge(
        "model-worst-by-one",
        "worst cache",
        "a ring one bucket above the cached worst is not cached",
        MODEL_TRIGGER_INDEX,
        "if ring + 1 > self._worst_ring(ring >> 24):",
        "if ring > self._worst_ring(ring >> 24):",
    ),
)

# Planted in contract and model alike.
COMMON = (
    Bug(
        "both-value-ceil",
        "rounding",
        "a position's value is rounded up, in the trader's favour",
        (
            Edit(
                MARGIN_MATH,
                "return fixed_point._signed_div_floor(convert(size, int256) * per_unit",
                "return fixed_point._signed_div_ceil(convert(size, int256) * per_unit",
            ),
            Edit(
                MODEL_MARGIN_MATH,
                "return fixed_point._signed_div_floor(size * per_unit",
                "return fixed_point._signed_div_ceil(size * per_unit",
            ),
        ),
    ),
    Bug(
        "both-add-margin-not-refiled",
        "key not re-filed",
        "adding margin leaves the position in the ring of its old key",
        (
            Edit(
                MARKET,
                """    self._detach(position_id, position)
    position.margin = self._change_margin(position.margin, amount, 0)
    self._attach(position_id, position)
""",
                """    position.margin = self._change_margin(position.margin, amount, 0)
    self._book += amount << 128
    self._store_sizes(position_id, position.size, position.margin, 0)
""",
            ),
            Edit(
                MODEL_MARKET,
                """        self._detach(position_id, position)
        position.margin = self._change_margin(position.margin, amount, 0)
        self._attach(position_id, position)
""",
                """        position.margin = self._change_margin(position.margin, amount, 0)
        self._total_margin += amount
        self._store_sizes(position_id, position.size, position.margin, 0)
""",
            ),
        ),
    ),
    Bug(
        "both-entry-cost-not-removed",
        "aggregate",
        "a position's entry cost stays in its side's sum",
        (
            Edit(
                MARKET,
                "    self._entry_costs[position.side] -= position.size * position.entry_price\n",
                "",
            ),
            Edit(
                MODEL_MARKET,
                "        self._entry_costs[side] -= position.size * position.entry_price\n",
                "",
            ),
        ),
    ),
    Bug(
        "both-bad-debt-sent-to-pool",
        "bad debt",
        "the pool is sent bad debt, out of the others' margin",
        (
            Edit(
                MARKET,
                "pool_gain = convert(-value, uint256) - bad_debt",
                "pool_gain = convert(-value, uint256)",
            ),
            Edit(MODEL_MARKET, "pool_gain = -value - bad_debt", "pool_gain = -value"),
        ),
    ),
    Bug(
        "both-removal-unchecked",
        "revert missing",
        "margin can be removed below the initial requirement",
        (
            Edit(
                MARKET,
                "    self._require_initial_margin(position, marks)\n"
                "    self._attach(position_id, position)\n    log",
                "    self._attach(position_id, position)\n    log",
            ),
            Edit(
                MODEL_MARKET,
                "        self._require_initial_margin(position, marks)\n"
                "        self._attach(position_id, position)\n        self.log",
                "        self._attach(position_id, position)\n        self.log",
            ),
        ),
    ),
    Bug(
        "both-healthy-liquidated",
        "revert missing",
        "a healthy position can be liquidated",
        (
            Edit(
                MARKET,
                "    errors._require(self._is_liquidatable(position, marks), errors.HEALTHY)\n",
                "",
            ),
            Edit(
                MODEL_MARKET,
                "        errors._require(self._is_liquidatable(position, marks), errors.HEALTHY)\n",
                "",
            ),
        ),
    ),
    Bug(
        "both-claims-not-reserved",
        "reserve",
        "cash that is claimed backs new open interest",
        (
            Edit(
                MARKET,
                "reserved + (self._owed >> 128) <= staticcall pool.cash()",
                "reserved <= staticcall pool.cash()",
            ),
            Edit(
                MODEL_MARKET,
                "reserved + self._claims <= self.pool.cash",
                "reserved <= self.pool.cash",
            ),
        ),
    ),
    Bug(
        "both-bucket-due",
        "comparison",
        "a long's bucket counts as due by its lowest key instead of its highest",
        (
            Edit(
                TRIGGER_KEY,
                "self._lowest(bucket - ZERO_BUCKET + 1)",
                "self._lowest(bucket - ZERO_BUCKET)",
            ),
            Edit(
                MODEL_TRIGGER_KEY,
                "_lowest(bucket - ZERO_BUCKET + 1)",
                "_lowest(bucket - ZERO_BUCKET)",
            ),
        ),
        is_edge=True,
    ),
    Bug(
        "both-leaf-bit-kept",
        "bitmap",
        "the bit of a bucket that became empty is not cleared",
        (
            Edit(
                TRIGGER_INDEX,
                "leaf: uint256 = self._leaves[leaf_id] ^ (1 << (ring & 255))",
                "leaf: uint256 = self._leaves[leaf_id]",
            ),
            Edit(
                MODEL_TRIGGER_INDEX,
                "leaf = self._leaves[leaf_id] ^ (1 << (ring & 255))",
                "leaf = self._leaves[leaf_id]",
            ),
        ),
    ),
)

BUGS: tuple[Bug, ...] = (
    *ROUNDING,
    *EDGES,
    *ACCRUAL,
    *REFILING,
    *INDEX,
    *LEDGERS,
    *REVERTS,
    *EVENTS,
    *MODEL,
    *COMMON,
)
