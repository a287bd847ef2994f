"""Contract and model are two forms of one text: names, order, constants, reasons, events."""

import re
from functools import cache
from pathlib import Path

import parity
import pytest
from parity import Allowed, Unit

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = sorted(path.stem for path in (ROOT / "contracts").glob("*.vy"))
MODULES = sorted(path.stem for path in (ROOT / "contracts/modules").glob("*.vy"))

# Files of the model that mirror no contract of ours.
MODEL_ONLY = {
    "__init__": "package",
    "evm": "what the chain does for a contract",
    "exact": "formulas without rounding",
    "invariants": "statements about both forms",
}
MODEL_ONLY_MODULES = {
    "__init__": "package",
    "erc20": "snekmate's",
    "ownable_2step": "snekmate's",
}

# Modules with storage are mix-ins in the model.
MIX_INS = {"trigger_index": "TriggerIndex"}

# What a model class inherits, by contract.
BASES = {
    "PerpMarket": ["modules/trigger_index"],
    "LiquidityPool": ["modules/erc20"],
    "MarketFactory": ["modules/ownable_2step"],
    "PriceFeed": ["modules/ownable_2step"],
}

BIT_LENGTH = "the model asks Python for the bit length"
CASTS = "the contract converts, the model checks the range"
PACKED = "layout of a packed word"
STORED = "the model keeps records instead of packed words"
BLUEPRINT = "the model deploys by calling the class"

ALLOWED = {
    "PerpMarket": Allowed(
        in_contract={
            "MASK_40": PACKED,
            "MASK_48": PACKED,
            "MASK_64": PACKED,
            "MASK_128": PACKED,
            "FUNDING_OFFSET": PACKED,
            "_attach/_store_sizes": STORED,
        },
        in_model={"_stored": STORED, "_to_int": CASTS, "_to_uint": CASTS},
    ),
    "LiquidityPool": Allowed(
        in_model={
            "_withdraw": "snekmate's erc4626, called by its name in the contract too",
            "TRANSFER_DID_NOT_SUCCEED": "reason of snekmate's erc4626",
        }
    ),
    "MarketFactory": Allowed(
        in_contract={
            "FEED_BLUEPRINT": BLUEPRINT,
            "MARKET_BLUEPRINT": BLUEPRINT,
            "POOL_BLUEPRINT": BLUEPRINT,
        }
    ),
    "fixed_point": Allowed(in_model={"MAX_INT256": "bound of the cast"}),
    "margin_math": Allowed(in_model={"_to_int": CASTS, "_to_uint": CASTS}),
    "trigger_index": Allowed(in_contract={"_log2": BIT_LENGTH}),
    "trigger_key": Allowed(in_contract={"_log2": BIT_LENGTH}),
}


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def text(path: str) -> str:
    return (ROOT / path).read_text()


def contract_text(stem: str) -> str:
    folder = "contracts/modules" if stem in MODULES else "contracts"
    return text(f"{folder}/{stem}.vy")


def model_text(stem: str) -> str:
    folder = "python_model/modules" if stem in MODULES else "python_model"
    return text(f"{folder}/{snake(stem)}.py")


@cache
def read_contract(stem: str, source: str) -> Unit:
    if stem in MODULES:
        return parity.read_contract(source)
    interface = text(f"contracts/interfaces/I{stem}.vyi")
    return parity.read_contract(source, interface, getters=parity.exported_names(source))


def read_model(stem: str, source: str) -> Unit:
    if stem in MODULES:
        return parity.read_model(source, MIX_INS.get(stem, ""))
    return parity.read_model(source, stem, *[text(f"python_model/{b}.py") for b in BASES[stem]])


def report(stem: str, contract: str, model: str) -> list[str]:
    return parity.differences(
        read_contract(stem, contract), read_model(stem, model), ALLOWED.get(stem, Allowed())
    )


@pytest.mark.parametrize("stem", CONTRACTS + MODULES)
def test_contract_and_model_agree(stem: str) -> None:
    assert report(stem, contract_text(stem), model_text(stem)) == []


@pytest.mark.parametrize("stem", sorted(ALLOWED))
def test_each_allowance_is_needed(stem: str) -> None:
    contract = read_contract(stem, contract_text(stem))
    model = read_model(stem, model_text(stem))
    assert parity.unused_allowances(contract, model, ALLOWED[stem]) == []


def test_the_model_has_one_file_per_contract_and_no_other() -> None:
    files = {path.stem for path in (ROOT / "python_model").glob("*.py")}
    assert files - set(MODEL_ONLY) == {snake(stem) for stem in CONTRACTS}
    modules = {path.stem for path in (ROOT / "python_model/modules").glob("*.py")}
    assert modules - set(MODEL_ONLY_MODULES) == set(MODULES)


def test_reading_finds_what_there_is() -> None:
    market = read_contract("PerpMarket", contract_text("PerpMarket"))
    close = next(item for item in market.functions if item.name == "close")
    assert close.arguments == ["position_id", "acceptable_price"]
    assert (close.is_transaction, close.returned) == (True, 1)
    assert [name for name, _ in close.events] == ["PositionClosed"]
    assert close.calls[:2] == ["_enter", "_load_own_position"]
    assert close.reads_sender
    errors = read_contract("errors", contract_text("errors"))
    assert errors.constants["STALE_PRICE"] == "stale price"
    constants = read_contract("constants", contract_text("constants"))
    assert constants.constants["MAX_PRICE"] == 2**88 - 1
    pool = read_contract("LiquidityPool", contract_text("LiquidityPool"))
    assert {"asset", "transferFrom", "market", "cash"} <= pool.attributes


# The comparison can fail: each change of one text is reported in words.

MODEL_CHANGES = {
    "a renamed argument": (
        "PerpMarket",
        "def add_margin(self, position_id: int, amount: int,",
        "def add_margin(self, position_id: int, sum_: int,",
        "`add_margin` takes (position_id, sum_, *, sender) in the model,"
        " (position_id, amount, *, sender) is what the contract's arguments ask for",
    ),
    "arguments swapped": (
        "funding_index",
        "def _utilisation_rate(reserved: int, cash: int, max_rate: int)",
        "def _utilisation_rate(cash: int, reserved: int, max_rate: int)",
        "`_utilisation_rate` takes (cash, reserved, max_rate) in the model,"
        " (reserved, cash, max_rate) is what the contract's arguments ask for",
    ),
    "a dropped check": (
        "PerpMarket",
        "errors._require(not self._is_liquidatable(position, marks), errors.LIQUIDATABLE)",
        "pass",
        "reasons of `_check_exit`: the model lacks LIQUIDATABLE",
    ),
    "another reason": (
        "PerpMarket",
        "errors._require(side <= constants.SHORT, errors.UNKNOWN_SIDE)",
        "errors._require(side <= constants.SHORT, errors.ZERO_SIZE)",
        "reasons of `open`: the model lacks UNKNOWN_SIDE",
    ),
    "checks in another order": (
        "PerpMarket",
        "errors._require(size > 0, errors.ZERO_SIZE)\n"
        "        errors._require(size < position.size, errors.EXCEEDS_POSITION)",
        "errors._require(size < position.size, errors.EXCEEDS_POSITION)\n"
        "        errors._require(size > 0, errors.ZERO_SIZE)",
        "reasons of `reduce`: the order or number differs:"
        " ZERO_SIZE, EXCEEDS_POSITION, SIZE_TOO_SMALL, INSUFFICIENT_MARGIN /"
        " EXCEEDS_POSITION, ZERO_SIZE, SIZE_TOO_SMALL, INSUFFICIENT_MARGIN",
    ),
    "an accrual skipped": (
        "PerpMarket",
        "    def accrue(self, *, sender: str) -> None:\n"
        "        self._enter()\n        self._settle_marks()",
        "    def accrue(self, *, sender: str) -> None:\n        self._enter()",
        "calls in `accrue`: the model lacks _settle_marks",
    ),
    "a changed constant": (
        "constants",
        "MAX_VISITS = 32",
        "MAX_VISITS = 33",
        "constant `MAX_VISITS` is 32 in the contract, 33 in the model",
    ),
    "a changed reason text": (
        "errors",
        '"stale price"',
        '"old price"',
        "constant `STALE_PRICE` is stale price in the contract, old price in the model",
    ),
    "an event field too few": (
        "PerpMarket",
        'self.log("MarginAdded", position_id, sender, amount)',
        'self.log("MarginAdded", position_id, sender)',
        "events of `add_margin`: the model lacks MarginAdded(position_id, sender, amount)",
    ),
    "event fields swapped": (
        "LiquidityPool",
        'self.log("Deposit", sender, receiver, assets, shares)',
        'self.log("Deposit", sender, receiver, shares, assets)',
        "events of `_take_deposit`: only the model has Deposit(sender, receiver, shares, assets)",
    ),
    "struct fields swapped": (
        "PerpMarket",
        "    maker_fee: int\n    taker_fee: int\n",
        "    taker_fee: int\n    maker_fee: int\n",
        "fields of `MarketParams`: the order or number differs",
    ),
    "a lost attribute": (
        "PerpMarket",
        "        self.bad_debt = 0\n",
        "",
        "public `bad_debt` of the contract is no attribute of the model",
    ),
    "a view that is a transaction": (
        "PerpMarket",
        "    def params(self) -> MarketParams:",
        "    @external\n    def params(self, *, sender: str) -> MarketParams:",
        "`params` is a transaction, a view or internal in one form and not in the other",
    ),
    "another number of results": (
        "PriceFeed",
        "def latest_price(self) -> tuple[int, int]:",
        "def latest_price(self) -> int:",
        "`latest_price` returns 2 values, 1 in the model",
    ),
    "the sender not handed on": (
        "PerpMarket",
        "def _load_own_position(self, position_id: int, sender: str)",
        "def _load_own_position(self, position_id: int)",
        "`_load_own_position` takes (position_id) in the model,"
        " (position_id, sender) is what the contract's arguments ask for",
    ),
}

CONTRACT_CHANGES = {
    "a new function": (
        "PriceFeed",
        "@external\n@view\ndef latest_price()",
        "@external\n@view\ndef age() -> uint256:\n    return 0\n\n\n"
        "@external\n@view\ndef latest_price()",
        "functions: the model lacks age",
    ),
    "a new constant": (
        "MarketFactory",
        "MAX_FEE: constant(uint256) = 10**16",
        "MAX_FEE: constant(uint256) = 10**16\nMIN_FEE: constant(uint256) = 1",
        "constants: the model lacks MIN_FEE",
    ),
    "a new getter": (
        "LiquidityPool",
        "cash: public(uint256)",
        "cash: public(uint256)\nlosses: public(uint256)",
        "public `losses` of the contract is no attribute of the model",
    ),
    "an event filled in another order": (
        "PriceFeed",
        "PricePublished(price=price, price_time=price_time)",
        "PricePublished(price_time=price_time, price=price)",
        "fields of event `PricePublished`: the order or number differs",
    ),
    "an event no longer logged": (
        "LiquidityPool",
        "    log ILiquidityPool.LossCollected(amount=amount)\n",
        "",
        "event `LossCollected` is never logged",
    ),
    "the payment before the booking": (
        "LiquidityPool",
        "    token_transfer._pull(IERC20(erc4626.asset), msg.sender, assets)\n"
        "    erc4626.erc20._mint(receiver, shares)\n",
        "    erc4626.erc20._mint(receiver, shares)\n"
        "    token_transfer._pull(IERC20(erc4626.asset), msg.sender, assets)\n",
        "calls in `_take_deposit`: the order or number differs",
    ),
}


def changed(source: str, old: str, new: str) -> str:
    assert source.count(old) >= 1, f"no longer in the text: {old}"
    return source.replace(old, new, 1)


@pytest.mark.parametrize("case", MODEL_CHANGES)
def test_change_of_the_model_is_reported(case: str) -> None:
    stem, old, new, finding = MODEL_CHANGES[case]
    found = report(stem, contract_text(stem), changed(model_text(stem), old, new))
    assert any(item.startswith(finding) for item in found), found


@pytest.mark.parametrize("case", CONTRACT_CHANGES)
def test_change_of_the_contract_is_reported(case: str) -> None:
    stem, old, new, finding = CONTRACT_CHANGES[case]
    found = report(stem, changed(contract_text(stem), old, new), model_text(stem))
    assert any(item.startswith(finding) for item in found), found


def test_swapped_functions_are_reported() -> None:
    source = model_text("PriceFeed")
    first, second = (
        source.index("    @external\n    def set_market"),
        source.index("    @external\n    def set_publisher"),
    )
    third = source.index("    @external\n    def publish")
    swapped = source[:first] + source[second:third] + source[first:second] + source[third:]
    found = report("PriceFeed", contract_text("PriceFeed"), swapped)
    assert found == [
        "functions: the order or number differs: set_market, set_publisher, publish, latest_price"
        " / set_publisher, set_market, publish, latest_price"
    ]


def test_an_allowance_without_need_is_reported() -> None:
    contract = read_contract("constants", contract_text("constants"))
    model = read_model("constants", model_text("constants"))
    allowed = Allowed(in_model={"WAD": "both have it", "_nothing": "neither has it"})
    assert parity.unused_allowances(contract, model, allowed) == [
        "`_nothing` is allowed in_model without need"
    ]
