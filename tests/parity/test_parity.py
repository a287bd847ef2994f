"""Contract and model are two forms of one text: names, order, constants, reasons, events."""

import re
from functools import cache
from pathlib import Path
from typing import Any

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
    "RiskEngine": [],
    "MarketFactory": ["modules/ownable_2step"],
    "Configurator": ["modules/ownable_2step"],
    "SignedPriceFeed": [],
    "AggregatorPriceFeed": [],
    "MarketLens": [],
}

BIT_LENGTH = "the model asks Python for the bit length"
CASTS = "the contract converts, the model checks the range"
PACKED = "layout of a packed word"
STORED = "the model keeps records instead of packed words"
EMPTY = "what `empty` is in the contract"
SIGNED = "the model looks signatures up by what is signed"
RECORD = "the contract keeps publishers, quorum and market as code"
BLUEPRINT = "the model deploys by calling the class"

ALLOWED = {
    "PerpMarket": Allowed(
        in_contract={
            "MASK_40": PACKED,
            "MASK_48": PACKED,
            "MASK_64": PACKED,
            "MASK_128": PACKED,
            "FUNDING_OFFSET": PACKED,
            "BACKLOG_BIT": PACKED,
            "HALT_BIT": PACKED,
            "_attach/_store_sizes": STORED,
        },
        in_model={
            "_stored": STORED,
            "_to_uint": CASTS,
            "NO_TERMS": EMPTY,
        },
    ),
    "LiquidityPool": Allowed(
        in_contract={"MASK_128": PACKED, "RESULT_OFFSET": PACKED},
        in_model={
            "_withdraw": "snekmate's erc4626, called by its name in the contract too",
            "TRANSFER_DID_NOT_SUCCEED": "reason of snekmate's erc4626",
        },
    ),
    "RiskEngine": Allowed(
        in_contract={
            "MASK_17": PACKED,
            "MASK_20": PACKED,
            "MASK_40": PACKED,
            "MASK_48": PACKED,
            "MASK_60": PACKED,
            "MASK_104": PACKED,
            "MASK_128": PACKED,
            "HALT_BIT": PACKED,
            "RESULT_OFFSET": PACKED,
            "_packed": PACKED,
            "_units": PACKED,
            "_hour_after": PACKED,
            "_fractions": PACKED,
        },
        in_model={
            "_store_price_window": STORED,
            "_to_uint": CASTS,
            "Fractions": "name of a type",
        },
    ),
    "Configurator": Allowed(in_model={"NO_PARAMS": EMPTY}),
    "MarketFactory": Allowed(
        in_contract={
            "ENGINE_BLUEPRINT": BLUEPRINT,
            "MARKET_BLUEPRINT": BLUEPRINT,
            "POOL_BLUEPRINT": BLUEPRINT,
        }
    ),
    "SignedPriceFeed": Allowed(
        in_contract={
            "REPORT_TYPE_HASH": SIGNED,
            "eip712Domain": SIGNED,
            "_domain_separator_v4": SIGNED,
            "MASK_48": PACKED,
            "MASK_160": PACKED,
            "MASK_255": PACKED,
            "NOBODY": RECORD,
            "RECORD_WORDS": RECORD,
            "RECORD_INITCODE": RECORD,
            "_record": RECORD,
            "_compute_create_address_self": RECORD,
        },
        in_model={"publish/_require": "the contract asserts in line: gas"},
    ),
    "AggregatorPriceFeed": Allowed(
        in_contract={
            "LATEST_ROUND": "selector of a raw call",
            "READ_DECIMALS": "selector of a raw call",
        },
        in_model={"_raw_call": "a builtin of the contract's language"},
    ),
    "MarketLens": Allowed(in_contract={"_log2": BIT_LENGTH}),
    "index_walk": Allowed(in_contract={"_log2": BIT_LENGTH}),
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
def known_constants() -> dict[str, Any]:
    return parity.read_contract(contract_text("constants")).constants


@cache
def read_contract(stem: str, source: str) -> Unit:
    known = known_constants()
    if stem in MODULES:
        return parity.read_contract(source, known=known)
    path = ROOT / f"contracts/interfaces/I{stem}.vyi"
    interfaces = [path.read_text()] if path.exists() else []
    getters = parity.exported_names(source)
    return parity.read_contract(source, *interfaces, getters=getters, known=known)


def read_model(stem: str, source: str) -> Unit:
    known = known_constants()
    if stem in MODULES:
        return parity.read_model(source, MIX_INS.get(stem, ""), known=known)
    bases = [text(f"python_model/{base}.py") for base in BASES[stem]]
    return parity.read_model(source, stem, *bases, known=known)


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
    assert {"asset", "transferFrom", "market", "claims"} <= pool.attributes


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
        " ZERO_SIZE, EXCEEDS_POSITION, INSUFFICIENT_MARGIN /"
        " EXCEEDS_POSITION, ZERO_SIZE, INSUFFICIENT_MARGIN",
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
        "    keeper_share: int\n    reserve_fraction: int\n",
        "    reserve_fraction: int\n    keeper_share: int\n",
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
        "    def totals(self) -> Totals:",
        "    @external\n    def totals(self, *, sender: str) -> Totals:",
        "`totals` is a transaction, a view or internal in one form and not in the other",
    ),
    "another number of results": (
        "PerpMarket",
        "def health(self, position_id: int) -> tuple[int, int]:",
        "def health(self, position_id: int) -> int:",
        "`health` returns 2 values, 1 in the model",
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
        "RiskEngine",
        "@external\n@view\ndef market_params()",
        "@external\n@view\ndef age() -> uint256:\n    return 0\n\n\n"
        "@external\n@view\ndef market_params()",
        "functions: the model lacks age",
    ),
    "a new constant": (
        "RiskEngine",
        "HOUR: constant(uint256) = 3_600",
        "HOUR: constant(uint256) = 3_600\nDAY: constant(uint256) = 86_400",
        "constants: the model lacks DAY",
    ),
    "a new getter": (
        "LiquidityPool",
        "claims: public(uint256)",
        "claims: public(uint256)\nlosses: public(uint256)",
        "public `losses` of the contract is no attribute of the model",
    ),
    "an event filled in another order": (
        "RiskEngine",
        "PriceConfirmed(price=price, price_time=price_time)",
        "PriceConfirmed(price_time=price_time, price=price)",
        "fields of event `PriceConfirmed`: the order or number differs",
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
    source = model_text("RiskEngine")
    first = source.index("    @external\n    def set_params")
    second = source.index("    @external\n    def restrict")
    third = source.index("    # Views")
    swapped = source[:first] + source[second:third] + source[first:second] + source[third:]
    found = report("RiskEngine", contract_text("RiskEngine"), swapped)
    assert len(found) == 1
    assert found[0].startswith("functions: the order or number differs: observe_price,")
    assert " set_params, restrict, " in found[0].split(" / ")[0]
    assert " restrict, set_params, " in found[0].split(" / ")[1]


def test_an_allowance_without_need_is_reported() -> None:
    contract = read_contract("constants", contract_text("constants"))
    model = read_model("constants", model_text("constants"))
    allowed = Allowed(in_model={"WAD": "both have it", "_nothing": "neither has it"})
    assert parity.unused_allowances(contract, model, allowed) == [
        "`_nothing` is allowed in_model without need"
    ]
