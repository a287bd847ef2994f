"""A risk engine in both forms whose market is an account: every call and every word is compared."""

from types import SimpleNamespace
from typing import Any, cast

from eth_abi.abi import encode as abi_encode
from feed_forms import ADDRESSES, FeedForms, artifact

from python_model.liquidity_pool import Account
from python_model.modules.constants import FRACTION_UNIT, WAD
from python_model.perp_market import MarketParams
from python_model.risk_engine import Book, RiskEngine, RiskParams

ADDRESSES["market"] = f"0x{0xFEED << 144 | 0x100:040x}"

PRICE = 10_000 * WAD
UNIT = 10**6
PERCENT = WAD // 100
PARAMS = MarketParams(
    min_size=WAD // 100,
    skew_scale=60_000 * WAD,
    max_funding_rate=200 * 10**12,
    max_utilisation_rate=10**10,
    liquidation_penalty=4 * 10**15,
    keeper_share=10**17,
    reserve_fraction=3 * 10**17,
    max_price_age=240,
    tier_sizes=(WAD, 5 * WAD, 20 * WAD, 50 * WAD),
)
RISK = RiskParams(
    max_open_interest=200 * WAD,
    max_skew=60 * WAD,
    maker_fee=2 * 10**14,
    taker_fee=6 * 10**14,
    initial_fractions=(2 * PERCENT, 4 * PERCENT, 10 * PERCENT, 20 * PERCENT),
    maintenance_fractions=(1 * PERCENT, 2 * PERCENT, 5 * PERCENT, 10 * PERCENT),
    calm_volatility=5 * PERCENT,
    max_volatility_multiplier=3 * WAD,
    volatility_window=3_600,
    crowding_lower=50 * PERCENT,
    crowding_upper=90 * PERCENT,
    max_confidence=2 * PERCENT,
    max_jump=10 * PERCENT,
    move_windows=(300, 3_600),
    max_moves=(5 * PERCENT, 12 * PERCENT),
    cool_down=600,
    max_liquidated_size=40 * WAD,
    max_pool_loss=10 * PERCENT,
    max_bad_debt=1_000 * UNIT,
    max_insurance_draw=50 * PERCENT,
    max_profit_share=60 * PERCENT,
)
PARAMS_TYPE = f"({','.join(['uint256'] * 8)},uint256[4])"
RISK_TYPE = (
    f"({','.join(['uint256'] * 4)},uint256[4],uint256[4],{','.join(['uint256'] * 7)},"
    f"uint256[2],uint256[2],{','.join(['uint256'] * 6)})"
)


class EngineForms(FeedForms):
    """`observe` keeps track of the price in effect as the market would."""

    def __init__(self, params: MarketParams = PARAMS, **risk: Any) -> None:
        super().__init__()
        compiled = artifact("RiskEngine")
        changed = RISK._replace(**risk)
        encoded = abi_encode(
            ["address", "uint256", PARAMS_TYPE, RISK_TYPE],
            [ADDRESSES["configurator"], 6, params, changed],
        )
        address = self.engine.deploy(compiled.initcode + encoded, ADDRESSES["market"])
        self._kinds[address] = "RiskEngine"
        self.slots = {name: compiled.slot(name) for name in compiled.layout}
        self.model = RiskEngine(
            self.chain,
            address,
            ADDRESSES["configurator"],
            6,
            params,
            changed,
            deployer=cast(Any, SimpleNamespace(address=ADDRESSES["market"])),
        )
        self.price = self.price_time = 0
        self.state(self.model)

    def wait(self, seconds: int) -> None:
        self.set_time(self.now + seconds)

    def observe(
        self, price: int, confidence: int = 0, price_time: int | None = None, wait: int = 1
    ) -> bool:
        """A price of the present second, or of another one; takes effect if it is accepted."""
        self.wait(wait)
        price_time = self.now if price_time is None else price_time
        accepted: bool = self.market(
            "observe_price", price, confidence, price_time, self.price, self.price_time
        )
        if accepted:
            self.price, self.price_time = price, price_time
        return accepted

    def market(self, function: str, *args: Any) -> Any:
        """A call by the market that succeeds."""
        return self.does("market", self.model, function, *args)

    def configure(self, **risk: Any) -> None:
        """Parameters with some replaced, by the configurator."""
        params = self.model.params()._replace(**risk)
        self.does("configurator", self.model, "set_params", params)

    def record(self, size: int = 0, profit: int = 0, cash: int = 0, result: int = 0) -> bool:
        too_large: bool = self.market("record_update", size, profit, Account(cash, 0, result))
        return too_large

    def trips(self) -> list[tuple[int, int]]:
        """Causes and ends of what tripped in the last transaction."""
        found = [event.fields for event in self.chain.events if event.name == "BreakerTripped"]
        return [(cause, until) for cause, until in found]

    def events(self) -> list[str]:
        return [event.name for event in self.chain.events]

    def look(self, function: str, *args: Any) -> Any:
        """A view of the engine, or its reason."""
        return self.view(self.model, function, *args)

    def state(self, contract: Any) -> dict[str, Any]:
        """Views and storage words of the engine."""
        found = super().state(contract)
        for name, words in engine_words(self.model).items():
            for offset, word in enumerate(words):
                slot = self.slots[name] + offset
                assert self.engine.storage(self.model.address, slot) == word, name
        return found | {"words": engine_words(self.model)}


def book(reserved_share: int = 0, cash: int = 10**6 * UNIT, **changed: int) -> Book:
    """A market at PRICE whose open interest, half on each side, reserves that share of the cash."""
    notional = cash * reserved_share // PARAMS.reserve_fraction
    size = notional * 10**12 * WAD // PRICE // 2
    return Book(price=PRICE, long_size=size, short_size=size, cash=cash)._replace(**changed)


def engine_words(model: RiskEngine) -> dict[str, list[int]]:
    """The storage of the contract as its comments lay it out, by variable."""
    risk = model._params

    def fractions(values: tuple[int, ...]) -> int:
        return packed(*((units(value), 24) for value in values))

    ramp_end = model._ramp_start + model._ramp_duration
    return {
        "_terms": [
            packed(
                (fractions(risk.maintenance_fractions), 96),
                (fractions(risk.initial_fractions), 96),
                (units(risk.maker_fee), 17),
                (units(risk.taker_fee), 17),
                (-(-ramp_end // 3_600) if model._ramp_duration else 0, 20),
            )
        ],
        "_ramp": [
            packed(
                (fractions(model._old_maintenance), 96),
                (model._ramp_start, 48),
                (model._ramp_duration, 32),
            )
        ],
        "_rules": [
            packed(
                (units(risk.max_moves[0]), 24),
                (risk.move_windows[0], 20),
                (units(risk.max_moves[1]), 24),
                (risk.move_windows[1], 20),
                (units(risk.max_jump), 24),
                (units(risk.max_pool_loss), 24),
                (units(risk.max_profit_share), 24),
                (units(risk.max_confidence), 24),
                (risk.volatility_window, 20),
                (risk.cool_down, 17),
            )
        ],
        "_caps": [packed((risk.max_open_interest, 104), (risk.max_skew, 104))],
        "_dynamics": [
            packed(
                (units(risk.calm_volatility), 24),
                (units(risk.crowding_lower), 24),
                (units(risk.crowding_upper), 24),
                (units(risk.max_volatility_multiplier), 32),
            )
        ],
        "_limits": [
            packed(
                (risk.max_liquidated_size, 104),
                (risk.max_bad_debt, 96),
                (units(risk.max_insurance_draw), 24),
            )
        ],
        "_state": [
            packed(
                (model._variance, 128),
                (model._reduce_only_until, 48),
                (model._confidence, 60),
                (int(model._is_halted), 1),
            )
        ],
        "_pending": [
            packed(
                (model._pending_price, 88),
                (model._pending_time, 48),
                (model._seen_at, 48),
                (model._halted_since, 48),
            )
        ],
        "_price_windows": [
            packed(
                *((window.previous_price, 88) for window in model._price_windows),
                *((window.start, 40) for window in model._price_windows),
            )
        ],
        "_current_prices": [
            packed(*((window.current_price, 88) for window in model._price_windows))
        ],
        "_results": [
            packed(
                (model._previous_result + 2**103, 104),
                (model._current_result + 2**103, 104),
                (model._result_start, 48),
            )
        ],
        "_liquidations": [packed((model._liquidated_size, 104), (model._liquidation_start, 48))],
        "_deficits": [
            packed((model._drawn, 96), (model._bad_debt, 96), (model._deficit_start, 48))
        ],
    }


def units(fraction: int) -> int:
    assert fraction % FRACTION_UNIT == 0
    return fraction // FRACTION_UNIT


def packed(*fields: tuple[int, int]) -> int:
    """Fields of these widths, the first one lowest; each fits."""
    word = shift = 0
    for value, width in fields:
        assert 0 <= value < 2**width, f"{value} does not fit {width} bits"
        word |= value << shift
        shift += width
    assert shift <= 256
    return word
