"""The adapter: what lockstep needs to know of the perpetual market."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Any

from lockstep import abi
from lockstep.adapter import Config, Invariant, View
from lockstep.compiler import Sources
from lockstep.engines.base import GENESIS_TIME, Engine, Log
from lockstep.prices import Bar, PricePoint, black_thursday_like, points
from lockstep.samples import Measure, Series
from lockstep.step import ModelResult, Step
from perp_fuzz.actions import ACTIONS, MINTING, NO_HOOK, Codec
from perp_fuzz.counts import Counts
from perp_fuzz.deployment import (
    ADDRESSES,
    DEFAULT_PARAMS,
    DEFAULT_RISK,
    MODEL_FILES,
    ROOT,
    TOKENS,
    Artifacts,
    Overrides,
    call_of,
    compile_contracts,
    deploy,
    sources,
)
from perp_fuzz.features import Features
from perp_fuzz.generator import OF_POSITION, Generator
from perp_fuzz.samples import MEASURES, Watch
from perp_fuzz.story import Telling, complaint
from perp_fuzz.view_checks import ViewChecks
from perp_fuzz.words import Word, Words
from python_model.evm import ZERO_ADDRESS, Event, Revert
from python_model.invariants import INVARIANTS, Observation

# Actions whose first argument is the position they are about.
ABOUT_POSITION = frozenset((*OF_POSITION, "settle"))
ABOUT_TOKEN = frozenset(("donate", "seize", "set_fee", "set_hook"))


class PerpTwin:
    """One market on an engine and its model."""

    def __init__(self, engine: Engine, config: Config, artifacts: Artifacts) -> None:
        self.config = config
        token = config.get("token", "standard")
        self.system = system = deploy(engine, config, artifacts)
        self.market = system.market
        self.codec = Codec(system, token == "standard")
        self.words = Words(system, artifacts, TOKENS[token])
        self.seen = Observation(system.market)
        self.watch = Watch(system.market)
        self.counts = Counts(self.seen, self.watch)
        self._features = Features(system)
        self._telling = Telling(system)
        self.now = system.chain.timestamp
        self.live = self.seen.live
        self.hook = NO_HOOK
        self.reason = ""  # why the last step was refused, if it was
        self.path: Iterator[PricePoint] | None = None
        self.generator: Generator | None = None
        self._encoders = {
            (contract.address, event): encode
            for contract, name in (
                (system.market, "PerpMarket"),
                (system.pool, "LiquidityPool"),
                (system.engine, "RiskEngine"),
                (system.feed, type(system.feed).__name__),
                (system.factory, "MarketFactory"),
                (system.configurator, "Configurator"),
                (system.token, TOKENS[token]),
            )
            for event, encode in _events_of(artifacts[name].abi).items()
        }

        self._view_checks = ViewChecks(engine, self, artifacts)

    @property
    def observed(self) -> Observation:
        """What the invariants are about."""
        return self.seen

    def execute_model(self, step: Step) -> ModelResult:
        chain = self.system.chain
        chain.timestamp = self.now = step.at
        seen = self.seen
        first = step.args[0] if step.args else 0
        is_about = step.action in ABOUT_POSITION and isinstance(first, int)
        seen.begin(step.action, int(first) if is_about else 0)
        self._features.begin(step)
        try:
            value = self.codec.call_model(step.action, step.actor, step.args)
        except Revert as revert:
            seen.end(False)
            self.reason = revert.reason or "no reason"
            self._features.end(step, False, [])
            output = abi.error_string(revert.reason) if revert.reason else b""
            return ModelResult(False, output, [], revert.reason, None, False)
        self.words.note()
        self.reason = ""
        seen.end(True)
        events = chain.events
        self._features.end(step, True, events)
        self.counts.note(step, events)
        if self.hook == MINTING:
            self._note_minted(events)
        if step.action in ABOUT_TOKEN:
            self._note_token(step)
        elif self.system.token.fee_bps:
            self._note_kept(events)
        output = self.codec.output(step.action, value)
        number = value if type(value) is int else None
        changed = chain.has_changed()
        return ModelResult(True, output, self.logs_of(events), "", number, changed)

    def encode(self, step: Step) -> tuple[str, str, bytes]:
        target, data = self.codec.calldata(step.action, step.args)
        return call_of(step.actor, target, data)

    def touched_words(self) -> Iterable[Word]:
        return self.words.touched()

    def all_words(self) -> Iterable[Word]:
        return self.words.everything()

    def views(self) -> Iterable[View]:
        for part in self.view_parts():
            yield from part()

    def looks(self) -> Iterable[View]:
        for part in (self.state_views, *self._view_checks.looks()):
            yield from part()

    def view_parts(self) -> Sequence[Callable[[], Iterable[View]]]:
        checks = self._view_checks
        return self.state_views, *checks.looks(), *checks.trials()

    def state_views(self) -> Iterable[View]:
        """The first of them: each reads state, none tries a transaction."""
        market, pool = self.market, self.system.pool
        yield from _views(market.address, _VIEWS_OF_MARKET, market)
        for position_id in self.live[-8:]:
            position = market.position(position_id)
            yield (
                market.address,
                _POSITION(position_id),
                abi.words(*flat_fields(position)),
                f"position({position_id})",
            )
            yield (
                market.address,
                _HEALTH(position_id),
                abi.words(*market.health(position_id)),
                f"health({position_id})",
            )
        engine = self.system.engine
        book = market._book_state(market._accrued())
        for side in (0, 1):
            size = engine.PARAMS.min_size * 3
            yield (
                engine.address,
                _EXIT(side, size, size, *book),
                abi.words(*engine.exit_terms(side, size, size, book)),
                f"exit_terms({side}, {size})",
            )
        yield (
            engine.address,
            _TERMS(7, *book),
            abi.words(*_flat(engine.terms(7, book))),
            "terms(7)",
        )
        yield engine.address, _PARAMS(), abi.words(*_flat(engine.params())), "params()"
        yield engine.address, _BREAKER(), abi.words(*engine.breaker()), "breaker()"
        account = abi.words(*pool.account())
        yield pool.address, _ACCOUNT(), account, "account()"
        for role in ("lp_0", "lp_1", "attacker"):
            owner = ADDRESSES[role]
            for name in ("maxDeposit", "maxMint", "maxWithdraw", "maxRedeem"):
                expected = abi.word(getattr(pool, name)(owner))
                yield pool.address, _POOL_LIMITS[name](owner), expected, f"{name}({role})"
        for amount in (1, 10**9 + 7):
            for name, encode in _POOL_CONVERSIONS.items():
                expected = abi.word(getattr(pool, name)(amount))
                yield pool.address, encode(amount), expected, f"{name}({amount})"
        yield pool.address, _TOTAL_ASSETS(), abi.word(pool.totalAssets()), "totalAssets()"

    def states(self) -> Iterable[str]:
        return self._view_checks.states()

    def word_name(self, address: str, slot: int) -> str:
        return self.words.name(address, slot)

    def describe(self, step: Step) -> str:
        return self._telling.describe(step)

    def context(self) -> str:
        return self._telling.context()

    def show_log(self, log: Log) -> str:
        return self._telling.show_log(log)

    def statistics(self) -> dict[str, int]:
        return self.counts

    def samples(self) -> Mapping[str, Iterable[float]]:
        return self.watch.samples(self.live)

    def series(self) -> Sequence[Series]:
        return self.watch.series()

    def credit_to(self, aims: Callable[[list[str]], None]) -> None:
        """Have it told which sides of boundaries a step has reached."""
        self._features.learn = aims

    def features(self) -> list[str]:
        """Names of what was reached since this was last asked."""
        return self._features.take()

    def logs_of(self, events: Iterable[Event]) -> list[Log]:
        """What the contracts log for these events."""
        encoders = self._encoders
        return [encoders[address, name](address, *fields) for address, name, fields in events]

    def _note_minted(self, events: Iterable[Event]) -> None:
        """What the token gave unasked in the middle of a transfer."""
        donated, token = self.seen.donated, self.system.token.address
        for event in events:
            if event.address == token and event.name == "Transfer":
                giver, receiver, amount = event.fields
                if giver == ZERO_ADDRESS:
                    donated[receiver] = donated.get(receiver, 0) + amount

    def _note_kept(self, events: Iterable[Event]) -> None:
        """What the token kept of what market and pool sent each other: nobody checks that."""
        donated, token = self.seen.donated, self.system.token
        ours = self.market.address, self.system.pool.address
        for event in events:
            if event.address == token.address and event.name == "Transfer":
                giver, receiver, amount = event.fields
                kept = amount * token.fee_bps // 10_000
                if giver in ours and receiver in ours and kept:
                    donated[receiver] = donated.get(receiver, 0) - kept

    def _note_token(self, step: Step) -> None:
        """What tokens were given or taken, and whether the token still is what it should be."""
        seen, token = self.seen, self.system.token
        if step.action == "set_hook":
            self.hook = str(step.args[0])
        elif step.action != "set_fee":
            target = getattr(self.system, str(step.args[0]), None)
            amount = step.args[1]
            if target is not None and isinstance(amount, int):
                gift = -amount
                if step.action == "donate":
                    gift = amount - amount * min(token.fee_bps, 10_000) // 10_000
                seen.donated[target.address] = seen.donated.get(target.address, 0) + gift
        is_whole = token.fee_bps == 0 and min(seen.donated.values(), default=0) >= 0
        seen.token_is_sound = self.hook == NO_HOOK and is_whole


class PerpAdapter:
    """The perpetual market, optionally along a file of prices or with bugs planted."""

    name = "perp"
    import_path = "perp_fuzz.adapter:ADAPTER"
    actions: Mapping[str, Any] = ACTIONS
    references: Mapping[str, tuple[str, tuple[int, ...]]] = {
        action: ("open", (0,)) for action in sorted(ABOUT_POSITION)
    }
    measures: Mapping[str, Measure] = MEASURES
    invariants: Sequence[Invariant] = tuple(Invariant(*item) for item in INVARIANTS)

    def __init__(
        self,
        bars: Sequence[Bar] | None = None,
        overrides: Overrides | None = None,
        artifacts: Artifacts | None = None,  # instead of what `overrides` compiles to
    ) -> None:
        self.bars = bars
        self.overrides = overrides
        self._artifacts = artifacts

    def new_twin(self, engine: Engine, config: Config) -> PerpTwin:
        return PerpTwin(engine, config, self._artifacts or compile_contracts(self.overrides))

    model_files = MODEL_FILES
    unreachable = ROOT / "perp_fuzz" / "unreachable.toml"

    def sources(self) -> dict[str, Sources]:
        return sources(self.overrides)

    def compiled(self, artifacts: Artifacts) -> "PerpAdapter":
        other = copy(self)
        other._artifacts = {**(self._artifacts or compile_contracts(self.overrides)), **artifacts}
        return other

    def complaint(self, step: Step) -> str | None:
        return complaint(step)

    def generate(self, twin: Any, rng: random.Random) -> Step:
        if twin.generator is None:
            twin.generator = Generator(twin, self._path(twin.config))
        step: Step = twin.generator.step(rng)
        return step

    def _path(self, config: Config) -> Iterator[PricePoint]:
        """Prices without end from a place of the chain's own, times counted from the start."""
        rng = random.Random(config.get("seed", 0))
        rounds = self._bars(rng) if self.bars else _synthetic(rng)
        at = GENESIS_TIME + 60
        for path in rounds:
            first: int | None = None
            for point in path:
                first = point.at if first is None else first
                yield PricePoint(at + point.at - first, point.price)
            at += 3600 + point.at - (first or 0)

    def _bars(self, rng: random.Random) -> Iterator[Iterator[PricePoint]]:
        bars = self.bars
        assert bars
        start = rng.randrange(len(bars))
        yield points(islice(bars, start, None))
        while True:
            yield points(bars)


def _synthetic(rng: random.Random) -> Iterator[Iterator[PricePoint]]:
    while True:
        skipped = rng.randrange(900)
        yield islice(black_thursday_like(rng.randrange(2**32)), skipped, None)


def scaled_params(price: int) -> dict[str, int | list[int]]:
    """The default sizes for an underlying of another price: the same values in quote."""
    base = 8_000 * 10**18

    def scaled(size: int) -> int:
        return max(size * base // price, 1)

    params, risk = DEFAULT_PARAMS, DEFAULT_RISK
    return {
        "min_size": scaled(params.min_size),
        "skew_scale": scaled(params.skew_scale) + 10**3,
        "tier_sizes": [scaled(size) for size in params.tier_sizes],
        "max_open_interest": scaled(risk.max_open_interest),
        "max_skew": scaled(risk.max_skew),
        "max_liquidated_size": scaled(risk.max_liquidated_size),
    }


def _events_of(contract_abi: list[dict[str, Any]]) -> dict[str, Callable[..., Log]]:
    return {name: event.encode for name, event in abi.register_events(contract_abi).items()}


def flat_fields(record: Any) -> list[Any]:
    """The fields of a record in order, nested ones in their place."""
    names = getattr(record, "_fields", None) or record.__slots__
    return _flat([getattr(record, name) for name in names])


def _flat(values: Sequence[Any]) -> list[Any]:
    flat: list[Any] = []
    for value in values:
        flat.extend(_flat(value) if isinstance(value, list | tuple) else [value])
    return flat


_VIEWS_OF_MARKET = ("marks", "pool_terms", "solvency", "totals")
_POSITION = abi.encoder("position(uint256)")
_HEALTH = abi.encoder("health(uint256)")
_BOOK = "(uint256,uint256,uint256,uint256)"
_EXIT = abi.encoder(f"exit_terms(uint256,uint256,uint256,{_BOOK})")
_TERMS = abi.encoder(f"terms(uint256,{_BOOK})")
_PARAMS = abi.encoder("params()")
_BREAKER = abi.encoder("breaker()")
_ACCOUNT = abi.encoder("account()")
_TOTAL_ASSETS = abi.encoder("totalAssets()")
_POOL_LIMITS = {
    name: abi.encoder(f"{name}(address)")
    for name in ("maxDeposit", "maxMint", "maxWithdraw", "maxRedeem")
}
_POOL_CONVERSIONS = {
    name: abi.encoder(f"{name}(uint256)")
    for name in (
        "convertToShares",
        "convertToAssets",
        "previewDeposit",
        "previewMint",
        "previewWithdraw",
        "previewRedeem",
    )
}


def _views(
    address: str, names: Sequence[str], model: Any
) -> Iterator[tuple[str, bytes, bytes, str]]:
    for name in names:
        expected = abi.words(*flat_fields(getattr(model, name)()))
        yield address, abi.encoder(f"{name}()")(), expected, f"{name}()"


ADAPTER = PerpAdapter()
