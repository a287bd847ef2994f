"""Known bugs, to be planted one at a time in copies of the contracts and of the model.

A bug is a few edits of text. Contracts are compiled from the edited text, functions of the model
run the code of the edited text for as long as the bug is planted; no file is touched. A bug planted
in both forms alike is one that the comparison cannot see: an invariant has to.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from lockstep.errors import InputError
from lockstep.mutation.planting import planted_code
from perp_fuzz.deployment import ROOT

MARKET = "contracts/PerpMarket.vy"
POOL = "contracts/LiquidityPool.vy"
SIGNED_FEED = "contracts/SignedPriceFeed.vy"
AGGREGATOR_FEED = "contracts/AggregatorPriceFeed.vy"
ENGINE = "contracts/RiskEngine.vy"
CONFIGURATOR = "contracts/Configurator.vy"
RISK_BOUNDS = "contracts/modules/risk_bounds.vy"
DYNAMIC_MARGIN = "contracts/modules/dynamic_margin.vy"
MEDIAN = "contracts/modules/sorted_median.vy"
INDEX_WALK = "contracts/modules/index_walk.vy"
FIXED_POINT = "contracts/modules/fixed_point.vy"
FUNDING_INDEX = "contracts/modules/funding_index.vy"
MARGIN_MATH = "contracts/modules/margin_math.vy"
TOKEN_TRANSFER = "contracts/modules/token_transfer.vy"
TRIGGER_INDEX = "contracts/modules/trigger_index.vy"
TRIGGER_KEY = "contracts/modules/trigger_key.vy"
MODEL_EVM = "python_model/evm.py"
MODEL_MARKET = "python_model/perp_market.py"
MODEL_ENGINE = "python_model/risk_engine.py"
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
    with planted_code({file: text for file, text in texts.items() if file not in contracts}):
        yield contracts


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
        (
            "    return fixed_point._signed_div_floor(\n"
            "        self._marked_value(side, size, price, funding)"
        ),
        (
            "    return fixed_point._signed_div_ceil(\n"
            "        self._marked_value(side, size, price, funding)"
        ),
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
        (
            "    return equity, self._fraction_of_notional_up(\n"
            "        position.size, marks.price, "
            "marks.terms.maintenance_fractions[position.tier]\n"
            "    )\n"
        ),
        (
            "    return equity, fixed_point._mul_div_down(position.size * "
            "marks.price, marks.terms.maintenance_fractions[position.tier], "
            "NOTIONAL_SCALE * constants.WAD)\n"
        ),
    ),
    _bug(
        "initial-down",
        "rounding",
        "the initial requirement is rounded down",
        MARKET,
        (
            "    requirement: uint256 = "
            "self._fraction_of_notional_up(position.size, marks.price, fraction)\n"
        ),
        (
            "    requirement: uint256 = fixed_point._mul_div_down(position.size "
            "* marks.price, fraction, NOTIONAL_SCALE * constants.WAD)\n"
        ),
    ),
    _bug(
        "fee-down",
        "rounding",
        "the trading fee is rounded down",
        ENGINE,
        (
            "    fill.fee = self._fraction_of_notional_up(\n"
            "        size,\n"
            "        fill.price,\n"
            "        ((fees if is_maker else fees >> 17) & MASK_17) * "
            "constants.FRACTION_UNIT,\n"
            "    )\n"
        ),
        (
            "    fill.fee = fixed_point._mul_div_down(\n"
            "        size * fill.price,\n"
            "        ((fees if is_maker else fees >> 17) & MASK_17) * "
            "constants.FRACTION_UNIT,\n"
            "        NOTIONAL_SCALE * constants.WAD,\n"
            "    )\n"
        ),
    ),
    _bug(
        "penalty-down",
        "rounding",
        "the liquidation penalty is rounded down",
        MARKET,
        "return self._fraction_of_notional_up(size, marks.price, marks.terms.liquidation_penalty)",
        (
            "return fixed_point._mul_div_down(size * marks.price, "
            "marks.terms.liquidation_penalty, NOTIONAL_SCALE * constants.WAD)"
        ),
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
        (
            "reward: uint256 = fixed_point._mul_div_down(\n"
            "        close_out.penalty, marks.terms.keeper_share"
        ),
        (
            "reward: uint256 = fixed_point._mul_div_up(\n"
            "        close_out.penalty, marks.terms.keeper_share"
        ),
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
        ENGINE,
        "if size <= PARAMS.tier_sizes[tier]:",
        "if size < PARAMS.tier_sizes[tier]:",
    ),
    _edge(
        "open-interest-cap",
        "comparison",
        "a side may not fill its cap to the last unit",
        ENGINE,
        "side_size <= caps & MASK_104",
        "side_size < caps & MASK_104",
    ),
    _edge(
        "skew-cap",
        "comparison",
        "the skew may exceed its cap by one unit",
        ENGINE,
        "side_size <= other_size + (caps >> 104)",
        "side_size <= other_size + (caps >> 104) + 1",
    ),
    _edge(
        "minimum-size",
        "comparison",
        "a position of exactly the minimum size is refused",
        ENGINE,
        "return size < PARAMS.min_size or (",
        "return size <= PARAMS.min_size or (",
    ),
    _edge(
        "minimum-rest",
        "comparison",
        "reducing may leave one unit less than the minimum size",
        ENGINE,
        "rest == 0 or not self._is_too_small(rest, book.price)",
        "rest == 0 or not self._is_too_small(rest + 1, book.price)",
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
        "marks.price_time + marks.terms.max_price_age >= block.timestamp",
        "marks.price_time + marks.terms.max_price_age > block.timestamp",
    ),
    _edge(
        "reserve",
        "comparison",
        "the pool's cash may not be reserved to the last unit",
        ENGINE,
        "errors._require(reserved <= book.cash, errors.RESERVE_EXCEEDED)",
        "errors._require(reserved < book.cash, errors.RESERVE_EXCEEDED)",
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
        ENGINE,
        "is_maker = doubled_skew < 0",
        "is_maker = doubled_skew <= 0",
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
        ENGINE,
        "if size > constants.MAX_SIZE or self._is_too_small(size, price):",
        (
            "if size == PARAMS.min_size or size > constants.MAX_SIZE or "
            "self._is_too_small(size, price):"
        ),
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
        SIGNED_FEED,
        "assert header.price_time > (latest",
        "assert header.price_time >= (latest",
    ),
    _edge(
        "price-delay",
        "comparison",
        "a price of exactly the greatest delay is refused",
        SIGNED_FEED,
        "unsafe_add(header.price_time, MAX_DELAY) >= block.timestamp",
        "unsafe_add(header.price_time, MAX_DELAY) > block.timestamp",
    ),
    _edge(
        "price-one-second-ahead",
        "comparison",
        "a price of the next second is taken",
        SIGNED_FEED,
        "assert header.price_time <= block.timestamp,",
        "assert header.price_time <= block.timestamp + 1,",
    ),
)

ACCRUAL = (
    _bug(
        "accrual-not-stored",
        "accrual",
        "what was accrued is used but not stored",
        MARKET,
        (
            "    marks: IPerpMarket.Marks = self._accrued()\n"
            "    self._store_marks(marks)\n"
            "    return marks\n"
        ),
        "    marks: IPerpMarket.Marks = self._accrued()\n    return marks\n",
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
        "    extcall market.accrue()\n    terms",
        "    terms",
    ),
    _bug(
        "withdrawal-without-accrual",
        "accrual",
        "paying claims changes the pool's cash without accruing first",
        POOL,
        "    extcall market.accrue()\n    claim",
        "    claim",
    ),
    _bug(
        "backlog-without-accrual",
        "accrual",
        "a backlog is worked off without accruing first",
        MARKET,
        (
            "    marks: IPerpMarket.Marks = self._settle_marks()\n"
            "    errors._require(not self._is_halted(), errors.HALTED)\n"
            "    sweep"
        ),
        (
            "    marks: IPerpMarket.Marks = self._load_marks()\n"
            "    marks.terms = staticcall engine.terms(0, self._book_state(marks))\n"
            "    errors._require(not self._is_halted(), errors.HALTED)\n"
            "    sweep"
        ),
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
            (
                "    self._require_initial_margin(position, marks, fraction)\n"
                "    self._attach(position_id, position)\n"
                "    log"
            ),
            (
                "    self._require_initial_margin(position, marks, fraction)\n"
                "    before: IPerpMarket.Position = position\n"
                "    before.margin = position.margin + amount\n"
                "    self._attach_as(position_id, position, before)\n"
                "    log"
            ),
        ),
    ),
    _unfiled(
        "increase-not-refiled",
        "increasing",
        (
            (
                "    self._attach(position_id, position)\n"
                "    self._add_to_ledgers(0, fill.fee)\n"
                "    log IPerpMarket.PositionIncreased(\n"
            ),
            (
                "    if before.size > 0:\n"
                "        self._attach_as(position_id, position, before)\n"
                "    else:\n"
                "        self._attach(position_id, position)\n"
                "    self._add_to_ledgers(0, fill.fee)\n"
                "    log IPerpMarket.PositionIncreased(\n"
            ),
        ),
    ),
    _unfiled(
        "reduce-not-refiled",
        "reducing",
        (
            (
                "    self._detach(position_id, position)\n"
                "    claim: uint256 = self._take_profit(position.owner, value)\n"
                "    position.margin"
            ),
            (
                "    before: IPerpMarket.Position = position\n"
                "    self._detach(position_id, position)\n"
                "    claim: uint256 = self._take_profit(position.owner, value)\n"
                "    position.margin"
            ),
        ),
        (
            (
                "    self._attach(position_id, position)\n"
                "    self._add_to_ledgers(0, fill.fee)\n"
                "    log IPerpMarket.PositionReduced(\n"
            ),
            (
                "    self._attach_as(position_id, position, before)\n"
                "    self._add_to_ledgers(0, fill.fee)\n"
                "    log IPerpMarket.PositionReduced(\n"
            ),
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
        "marks.terms.maintenance_fractions[tier], marks.funding[side]\n",
        "marks.terms.maintenance_fractions[tier], marks.funding[constants.LONG]\n",
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
        "            marks.price_time = price_time\n            marks.epoch += 1\n",
        "            marks.price_time = price_time\n",
    ),
    _bug(
        "seen-not-moved",
        "epoch",
        "a healthy position is marked seen but stays first in its ring",
        MARKET,
        "    self._ring_heads[ring] = position.next_id\n\n\n@internal\ndef _liquidate",
        "\n\n@internal\ndef _liquidate",
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
        (
            "    self._entry_value += margin_math._marked_value(\n"
            "        position.side, position.size, position.entry_price, "
            "position.entry_funding\n"
            "    )\n"
        ),
        (
            "    self._entry_value += margin_math._marked_value(\n"
            "        position.side, position.size, position.entry_price, 0\n"
            "    )\n"
        ),
    ),
    _bug(
        "entry-cost-not-removed",
        "aggregate",
        "a position's entry cost stays in its side's sum",
        MARKET,
        (
            "    self._entry_value -= margin_math._marked_value(\n"
            "        position.side, position.size, position.entry_price, "
            "position.entry_funding\n"
            "    )\n"
        ),
        (
            "    self._entry_value -= margin_math._marked_value(\n"
            "        position.side, position.size, 0, position.entry_funding\n"
            "    )\n"
        ),
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
        POOL,
        "    self.claims -= paid\n",
        "",
    ),
    _bug(
        "claim-not-recorded",
        "claims",
        "profit the pool cannot pay is not recorded for its owner",
        POOL,
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
        "self._add_to_ledgers(close_out.penalty - reward, 0)",
        "self._add_to_ledgers(0, close_out.penalty - reward)",
    ),
    _bug(
        "insurance-overused",
        "insurance",
        "the insurance reserve also pays a bankrupt position's penalty",
        ENGINE,
        "        min(shortfall, reserve), max(min(most",
        "        min(shortfall + 1, reserve), max(min(most",
    ),
    _bug(
        "insurance-underused",
        "insurance",
        "a shortfall above the insurance reserve is not paid from it at all",
        ENGINE,
        "        min(shortfall, reserve), max(min(most",
        "        (shortfall if reserve >= shortfall else 0), max(min(most",
    ),
    _bug(
        "bad-debt-not-recorded",
        "bad debt",
        "what neither margin nor insurance pays is not recorded",
        MARKET,
        "        self.bad_debt += close_out.bad_debt\n",
        "",
    ),
    _bug(
        "bad-debt-sent-to-pool",
        "bad debt",
        "the pool is sent bad debt, out of the others' margin",
        MARKET,
        "close_out.pool_gain = convert(-close_out.value, uint256) - close_out.bad_debt",
        "close_out.pool_gain = convert(-close_out.value, uint256)",
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
        "    self._settle_rewards(sweep, msg.sender)\n",
        "    self._settle_rewards(sweep, position.owner)\n",
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
        "    errors._require(self._is_priced(marks), errors.STALE_PRICE)\n",
        "",
    ),
    _bug(
        "pool-open-to-all",
        "revert missing",
        "anyone may have the pool pay a profit",
        POOL,
        "    errors._require(msg.sender == market.address, errors.NOT_MARKET)\n    paid:",
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
        "    errors._require(amount > 0, errors.NOTHING_TO_WITHDRAW)\n",
        "    if amount == 0:\n        self._exit()\n        return 0\n",
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
        "        except BaseException:\n            self._restore(count)\n            raise\n",
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
        "        self._ring_heads[ring] = position.next_id\n\n    def _liquidate",
        "\n    def _liquidate",
    ),
    _bug(
        "model-insurance-kept",
        "insurance",
        "what the insurance reserve paid stays in it",
        MODEL_MARKET,
        "            self._insurance -= close_out.insurance_used\n",
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
        "both-removal-unchecked",
        "revert missing",
        "margin can be removed below the initial requirement",
        (
            Edit(
                MARKET,
                (
                    "    self._require_initial_margin(position, marks, fraction)\n"
                    "    self._attach(position_id, position)\n"
                    "    log"
                ),
                "    self._attach(position_id, position)\n    log",
            ),
            Edit(
                MODEL_MARKET,
                (
                    "        self._require_initial_margin(position, marks, fraction)\n"
                    "        self._attach(position_id, position)\n"
                    '        self.log("MarginRemoved"'
                ),
                '        self._attach(position_id, position)\n        self.log("MarginRemoved"',
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
                "        cash=account.cash - min(account.cash, account.claims),\n",
                "        cash=account.cash,\n",
            ),
            Edit(
                MODEL_MARKET,
                "            account.cash - min(account.cash, account.claims),\n",
                "            account.cash,\n",
            ),
        ),
    ),
)

RISK = (
    _bug(
        "median-is-last",
        "feed",
        "the last report is taken for the median of three",
        MEDIAN,
        "    return max(min(x, y), min(max(x, y), z))",
        "    return z",
    ),
    _bug(
        "median-of-four-up",
        "feed",
        "the median of an even count is the upper of the two middle ones",
        MEDIAN,
        "    return (low & high) + ((low ^ high) >> 1)",
        "    return high",
    ),
    _bug(
        "quorum-one-less",
        "feed",
        "a report fewer than the quorum is enough",
        SIGNED_FEED,
        "assert len(reports) >= record[MAX_PUBLISHERS] >> 160",
        "assert len(reports) + 1 >= record[MAX_PUBLISHERS] >> 160",
    ),
    _bug(
        "duplicate-signer-counts",
        "feed",
        "one publisher may sign twice",
        SIGNED_FEED,
        (
            "                self._refuse_signer(record, signer, place)\n"
            "        place = unsafe_add(place, 1)\n"
        ),
        "                self._refuse_signer(record, signer, place)\n",
    ),
    _bug(
        "nine-reports",
        "feed",
        "nine reports are let in",
        SIGNED_FEED,
        "assert len(reports) <= MAX_PUBLISHERS",
        "assert len(reports) <= MAX_PUBLISHERS + 1",
    ),
    _bug(
        "chain-unchecked",
        "feed",
        "the chain that the header names is not checked",
        SIGNED_FEED,
        "    assert header.chain_id == chain.id, errors.WRONG_CHAIN\n",
        "",
    ),
    _bug(
        "feed-unchecked",
        "feed",
        "the feed that the header names is not checked",
        SIGNED_FEED,
        "    assert header.feed_id == FEED_ID, errors.WRONG_FEED\n",
        "",
    ),
    _bug(
        "confidence-zero-let-in",
        "feed",
        "a confidence of zero is let in",
        SIGNED_FEED,
        "            report.confidence > 0\n            and",
        "            True\n            and",
    ),
    _bug(
        "round-of-earlier-round",
        "feed",
        "an answer carried over from an earlier round is taken",
        AGGREGATOR_FEED,
        "    errors._require(last.answered_in_round >= last.round_id, errors.EARLIER_ROUND)\n",
        "",
    ),
    _bug(
        "decimals-not-compared",
        "feed",
        "an aggregator that changes its decimals is believed",
        AGGREGATOR_FEED,
        "    errors._require(self._decimals(AGGREGATOR) == DECIMALS, errors.DECIMALS_CHANGED)\n",
        "",
    ),
    _bug(
        "sequencer-unwatched",
        "feed",
        "prices are taken while the sequencer stands still",
        AGGREGATOR_FEED,
        "    self._check_sequencer()\n",
        "",
    ),
    _edge(
        "heartbeat-one-early",
        "feed",
        "a round exactly as old as the heartbeat is stale",
        AGGREGATOR_FEED,
        "block.timestamp - last.updated_at <= HEARTBEAT",
        "block.timestamp - last.updated_at < HEARTBEAT",
    ),
    _bug(
        "confidence-unbounded",
        "breaker",
        "a wide confidence is never refused",
        ENGINE,
        "        confidence_ratio <= unsafe_mul(",
        "        True or confidence_ratio <= unsafe_mul(",
    ),
    _bug(
        "confidence-not-counted",
        "breaker",
        "a wide confidence does not raise the initial fraction",
        DYNAMIC_MARGIN,
        "fixed_point._mul_div_up(base_fraction, multiplier, constants.WAD) + confidence,",
        "fixed_point._mul_div_up(base_fraction, multiplier, constants.WAD) + min(confidence, 0),",
    ),
    _edge(
        "jump-at-the-bound",
        "breaker",
        "a jump of exactly the bound is held",
        ENGINE,
        "        elif change > max_jump:",
        "        elif change >= max_jump:",
    ),
    _bug(
        "held-price-confirmed-at-once",
        "breaker",
        "a second report of the same block confirms a price",
        ENGINE,
        "    if block.timestamp <= (pending >> 136) & MASK_48:\n        return False\n",
        "",
    ),
    _bug(
        "held-price-confirms-itself",
        "breaker",
        "the report that is held counts as its own confirmation",
        ENGINE,
        (
            "    if is_halted and price_time <= (self._pending >> 88) & MASK_48:\n"
            "        return False\n"
        ),
        "",
    ),
    _bug(
        "halt-without-end",
        "breaker",
        "a halt does not end by itself",
        ENGINE,
        "    if block.timestamp >= (pending >> 184) + MAX_HALT:\n        return True\n",
        "",
    ),
    _bug(
        "halt-not-recorded",
        "breaker",
        "the market does not notice that a price is held",
        MARKET,
        "        if is_accepted == self._is_halted():\n            self._sizes ^= HALT_BIT\n",
        "",
    ),
    _bug(
        "liquidation-in-a-halt",
        "breaker",
        "positions are liquidated while a price waits for confirmation",
        MARKET,
        "    if not self._is_halted():\n        sweep = self._work_off",
        "    if True:\n        sweep = self._work_off",
    ),
    _edge(
        "move-at-the-bound",
        "breaker",
        "a move of exactly the bound trips",
        ENGINE,
        "            if change > unsafe_mul(bounds & MASK_24",
        "            if change >= unsafe_mul(bounds & MASK_24",
    ),
    _bug(
        "window-never-turns",
        "breaker",
        "the reference price of a window is never replaced",
        ENGINE,
        "if price_time >= unsafe_add(starts & MASK_40, (bounds >> 24) & MASK_20):",
        "if price_time > unsafe_add(starts & MASK_40, (bounds >> 24) & MASK_20) + 10**9:",
    ),
    _edge(
        "window-turns-late",
        "breaker",
        "a window turns a second late",
        ENGINE,
        "            if price_time >= unsafe_add(starts & MASK_40, (bounds >> 24) & MASK_20):",
        "            if price_time > unsafe_add(starts & MASK_40, (bounds >> 24) & MASK_20):",
    ),
    _bug(
        "one-bound-for-both-windows",
        "breaker",
        "the short window bounds both",
        ENGINE,
        "            bounds >>= 44\n",
        "            bounds = bounds\n",
    ),
    _bug(
        "cool-down-shortened",
        "breaker",
        "a second trip shortens what the first has set",
        ENGINE,
        "    until: uint256 = max(reduce_only_until, block.timestamp + (self._rules >> 204))",
        "    until: uint256 = block.timestamp + (self._rules >> 204)",
    ),
    _edge(
        "restriction-a-second-long",
        "breaker",
        "adding risk is refused at the very end of a restriction",
        ENGINE,
        "block.timestamp >= (self._state >> 128) & MASK_48, errors.REDUCE_ONLY",
        "block.timestamp > (self._state >> 128) & MASK_48, errors.REDUCE_ONLY",
    ),
    _bug(
        "restriction-ignored",
        "breaker",
        "size may be added while only exits are allowed",
        ENGINE,
        (
            "    errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)\n"
            "    self._require_unrestricted()\n"
        ),
        "    errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)\n",
    ),
    _bug(
        "volume-not-summed",
        "breaker",
        "only the last liquidation counts for the volume",
        ENGINE,
        "    sum = min(sum + size, constants.MAX_SIZE)",
        "    sum = min(size, constants.MAX_SIZE)",
    ),
    _bug(
        "pool-loss-from-now",
        "breaker",
        "the pool loss is taken from the start of this window",
        ENGINE,
        "unsafe_sub(convert(results & MASK_104, int256), RESULT_OFFSET), result",
        "unsafe_sub(convert((results >> 104) & MASK_104, int256), RESULT_OFFSET), result",
    ),
    _bug(
        "variance-unweighted",
        "dynamic margin",
        "volatility does not weigh returns by time",
        DYNAMIC_MARGIN,
        "variance * window + change_used * change_used, 1, window + elapsed",
        "variance * window + change_used * change_used, 1, window + 1",
    ),
    _bug(
        "variance-down",
        "dynamic margin",
        "the variance is rounded down",
        DYNAMIC_MARGIN,
        "    return fixed_point._mul_div_up(\n        variance * window",
        "    return fixed_point._mul_div_down(\n        variance * window",
    ),
    _bug(
        "volatility-down",
        "dynamic margin",
        "the root of the variance is rounded down",
        DYNAMIC_MARGIN,
        "    return root + convert(root * root < daily, uint256)",
        "    return root",
    ),
    _bug(
        "crowding-from-upper",
        "dynamic margin",
        "crowding is measured from its upper bound",
        DYNAMIC_MARGIN,
        "crowding_lower) - crowding_lower",
        "crowding_lower) - min(crowding_lower, 0)",
    ),
    _bug(
        "utilisation-before-the-trade",
        "dynamic margin",
        "crowding leaves out what is added",
        ENGINE,
        "    fill.initial_fraction = self._initial_fraction(tier, reserved, book.cash)",
        "    fill.initial_fraction = self._initial_fraction(tier, self._reserved(book), book.cash)",
    ),
    _bug(
        "ramp-jumps",
        "dynamic margin",
        "a new maintenance fraction holds at once",
        DYNAMIC_MARGIN,
        "    if elapsed >= duration:\n",
        "    if elapsed >= min(duration, 1):\n",
    ),
    _bug(
        "ramp-up",
        "dynamic margin",
        "the maintenance ramp is rounded up",
        DYNAMIC_MARGIN,
        "    units: uint256 = fixed_point._mul_div_down(",
        "    units: uint256 = fixed_point._mul_div_up(",
    ),
    _edge(
        "deleveraging-a-unit-early",
        "deleveraging",
        "profit of exactly its share is too large",
        ENGINE,
        "    return net_profit > convert(",
        "    return net_profit >= convert(",
    ),
    _bug(
        "deleveraging-too-far",
        "deleveraging",
        "one position too many is deleveraged",
        ENGINE,
        "                    return visited, False\n            else:",
        "                    profit = profit\n            else:",
    ),
    _bug(
        "losers-deleveraged",
        "deleveraging",
        "positions that have not won are deleveraged",
        ENGINE,
        "            if gain > 0:",
        "            if gain >= min_value(int256):",
    ),
    _bug(
        "deleveraging-from-the-worst",
        "deleveraging",
        "the list with the least equity per unit goes first",
        ENGINE,
        "            if equity > most:",
        "            if equity > most and list_id > 0:",
    ),
    _bug(
        "deleveraging-cursor-lost",
        "deleveraging",
        "where deleveraging stopped is not kept",
        ENGINE,
        "    self._deleverage_cursor = convert(equity + CURSOR_OFFSET, uint256) | (epoch << 128)\n",
        "",
    ),
    _bug(
        "insurance-uncapped",
        "deficit",
        "the reserve may be drained in one window",
        ENGINE,
        "max(min(most, constants.MAX_MARGIN), drawn) - drawn",
        "max(reserve + drawn, drawn) - drawn",
    ),
    _bug(
        "claims-not-senior",
        "deficit",
        "providers may withdraw what is claimed",
        POOL,
        "held: uint256 = terms.reserved + self.claims",
        "held: uint256 = terms.reserved",
    ),
    _bug(
        "result-without-claims",
        "deficit",
        "a profit that becomes a claim is no loss of the pool",
        POOL,
        "self._result() - convert(amount, int256)",
        "self._result() - convert(paid, int256)",
    ),
    _edge(
        "settled-a-second-early",
        "settlement",
        "positions are settled exactly at the delay",
        MARKET,
        "marks.price_time + SETTLEMENT_DELAY < block.timestamp",
        "marks.price_time + SETTLEMENT_DELAY <= block.timestamp",
    ),
    _bug(
        "settled-at-any-time",
        "settlement",
        "anyone settles any position at any time",
        MARKET,
        "    errors._require(self._is_expired(marks), errors.NOT_EXPIRED)\n",
        "",
    ),
    _bug(
        "broken-books-ignored",
        "settlement",
        "risk is added while tokens are missing",
        MARKET,
        "staticcall token.balanceOf(self) >= booked + self._credits",
        "staticcall token.balanceOf(self) + 10**30 >= booked + self._credits",
    ),
    _edge(
        "timelock-a-second-short",
        "roles",
        "proposals can be applied a second early",
        CONFIGURATOR,
        "block.timestamp >= eta, errors.TOO_EARLY",
        "block.timestamp + 1 >= eta, errors.TOO_EARLY",
    ),
    _bug(
        "proposal-applied-twice",
        "roles",
        "an applied proposal stays applicable",
        CONFIGURATOR,
        "    self._params_proposals[market] = empty(ParamsProposal)\n    extcall",
        "    extcall",
    ),
    _bug(
        "tighten-loosens",
        "roles",
        "caps may be raised at once",
        RISK_BOUNDS,
        "risk.max_open_interest <= present.max_open_interest",
        "risk.max_open_interest >= 0",
    ),
    _bug(
        "guardian-without-limit",
        "roles",
        "the guardian may restrict for as long as he likes",
        CONFIGURATOR,
        "duration > 0 and duration <= MAX_RESTRICTION",
        "duration > 0",
    ),
    _bug(
        "guardian-again-and-again",
        "roles",
        "the guardian may restrict again at once",
        CONFIGURATOR,
        "block.timestamp >= self.restricted_until[market] + MAX_RESTRICTION",
        "block.timestamp >= self.restricted_until[market]",
    ),
    _bug(
        "removal-below-quorum",
        "roles",
        "publishers may be removed below the quorum",
        SIGNED_FEED,
        "    self._check_publishers(others, self._quorum())\n",
        "",
    ),
    _bug(
        "engine-open-to-all",
        "roles",
        "anyone restricts the market",
        ENGINE,
        "    errors._require(msg.sender == configurator, errors.NOT_CONFIGURATOR)\n    state",
        "    state",
    ),
    _bug(
        "engine-updated-by-all",
        "roles",
        "anyone reports results to the engine",
        ENGINE,
        (
            "    errors._require(msg.sender == market, errors.NOT_MARKET)\n"
            "    rules: uint256 = self._rules\n"
            "    window"
        ),
        "    rules: uint256 = self._rules\n    window",
    ),
    _bug(
        "model-window-never-turns",
        "model",
        "the model never replaces the reference price of a window",
        MODEL_ENGINE,
        "if price_time >= window.start + self._params.move_windows[i]:",
        "if price_time >= window.start + self._params.move_windows[i] + 10**9:",
    ),
    _bug(
        "model-cursor-lost",
        "model",
        "the model does not keep where deleveraging stopped",
        MODEL_ENGINE,
        "        self._cursor_equity, self._cursor_epoch = equity, epoch\n",
        "",
    ),
    Bug(
        "both-losers-deleveraged",
        "deleveraging",
        "positions that have not won are deleveraged",
        (
            Edit(ENGINE, "            if gain > 0:", "            if gain > 0 or gain < 0:"),
            Edit(
                MODEL_ENGINE,
                "                if gain > 0:",
                "                if gain > 0 or gain < 0:",
            ),
        ),
    ),
    Bug(
        "both-removal-measured-without-itself",
        "dynamic margin",
        "margin is removed as if the position did not count against the pool",
        (
            Edit(
                MARKET,
                (
                    "    self._detach(position_id, position)\n"
                    "    position.margin = self._change_margin(position.margin, 0, amount)\n"
                    "    self._require_initial_margin(position, marks, fraction)\n"
                ),
                (
                    "    self._detach(position_id, position)\n"
                    "    fraction = staticcall engine.removal_terms(position.tier, "
                    "self._book_state(marks))\n"
                    "    position.margin = self._change_margin(position.margin, 0, amount)\n"
                    "    self._require_initial_margin(position, marks, fraction)\n"
                ),
            ),
            Edit(
                MODEL_MARKET,
                (
                    "        self._detach(position_id, position)\n"
                    "        position.margin = self._change_margin(position.margin, 0, amount)\n"
                    "        self._require_initial_margin(position, marks, fraction)\n"
                ),
                (
                    "        self._detach(position_id, position)\n"
                    "        fraction = self.engine.removal_terms(position.tier, "
                    "self._book_state(marks))\n"
                    "        position.margin = self._change_margin(position.margin, 0, amount)\n"
                    "        self._require_initial_margin(position, marks, fraction)\n"
                ),
            ),
        ),
    ),
)

ALONE: tuple[Bug, ...] = (
    *ROUNDING,
    *RISK,
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


def _in_both(id: str, *edits: Edit) -> Bug:
    """A bug of the contracts with its twin in the model: no comparison can see it."""
    bug = next(bug for bug in ALONE if bug.id == id)
    return bug._replace(id=f"both-{id}", edits=(*bug.edits, *edits))


BUGS: tuple[Bug, ...] = (
    *ALONE,
    _in_both(
        "restriction-ignored",
        Edit(
            MODEL_ENGINE,
            (
                "        errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)\n"
                "        self._require_unrestricted()\n"
            ),
            "        errors._require(size <= constants.MAX_SIZE, errors.SIZE_TOO_LARGE)\n",
        ),
    ),
    _in_both(
        "insurance-uncapped",
        Edit(
            MODEL_ENGINE,
            "max(min(most, constants.MAX_MARGIN), drawn) - drawn",
            "max(reserve + drawn, drawn) - drawn",
        ),
    ),
    _in_both(
        "value-ceil",
        Edit(
            MODEL_MARGIN_MATH,
            (
                "    return fixed_point._signed_div_floor(\n"
                "        _marked_value(side, size, price, funding)"
            ),
            (
                "    return fixed_point._signed_div_ceil(\n"
                "        _marked_value(side, size, price, funding)"
            ),
        ),
    ),
    _in_both(
        "entry-cost-not-removed",
        Edit(
            MODEL_MARKET,
            (
                "        self._entry_value -= margin_math._marked_value(\n"
                "            position.side, position.size, position.entry_price, "
                "position.entry_funding\n"
                "        )\n"
            ),
            (
                "        self._entry_value -= margin_math._marked_value(\n"
                "            position.side, position.size, 0, position.entry_funding\n"
                "        )\n"
            ),
        ),
    ),
    _in_both(
        "bad-debt-sent-to-pool",
        Edit(
            MODEL_MARKET,
            "close_out.pool_gain = -close_out.value - close_out.bad_debt",
            "close_out.pool_gain = -close_out.value",
        ),
    ),
    _in_both(
        "bucket-due",
        Edit(
            MODEL_TRIGGER_KEY,
            "_lowest(bucket - ZERO_BUCKET + 1)",
            "_lowest(bucket - ZERO_BUCKET)",
        ),
    ),
    _in_both(
        "leaf-bit-kept",
        Edit(
            MODEL_TRIGGER_INDEX,
            "leaf = self._leaves[leaf_id] ^ (1 << (ring & 255))",
            "leaf = self._leaves[leaf_id]",
        ),
    ),
)
