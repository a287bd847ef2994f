"""The deploy file of a network: one TOML table that says everything that is to be deployed.

Read and checked before anything is sent, each number against the bounds that the configurator and
the factory enforce. Sizes, fractions and rates are written as what they are (0.02 is two per cent),
times in seconds, sums of money in whole tokens; all become integers without rounding.
"""

import difflib
import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from eth_utils.address import is_checksum_address

from lockstep.abi import keccak
from lockstep.errors import InputError
from operations.bounds import Bound, feed_bounds, market_bounds, risk_bounds
from python_model.evm import ZERO_ADDRESS, Revert
from python_model.modules import constants
from python_model.modules import risk_bounds as enforced
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams

PROFILES = {
    "local": "a development chain: what is not given is deployed, keys are known to everyone",
    "testnet": "a public chain without value: token and aggregator are deployed unless given",
    "production": "a chain with value: token, aggregators and a contract as owner are given",
}
NETWORKS = Path(__file__).resolve().parents[1] / "networks"
MAX_PUBLISHERS = 8
MAX_DECIMALS = 18
WAD_PLACES = 18
SECONDS = frozenset({"max_price_age", "volatility_window", "move_windows", "cool_down"})
TOKENS = frozenset({"max_bad_debt"})


@dataclass(frozen=True)
class TokenSettings:
    """The collateral: given by its address, or a mintable one that is deployed."""

    address: str | None
    decimals: int


@dataclass(frozen=True)
class SignedFeed:
    """Prices signed by the publishers."""

    feed_id: str  # 32 bytes as 0x text
    decimals: int
    quorum: int


@dataclass(frozen=True)
class AggregatorFeed:
    """Prices of an aggregator: given by its address, or a test double that is deployed."""

    aggregator: str | None
    decimals: int
    heartbeat: int
    confidence_fraction: int
    sequencer: str | None
    grace_period: int


@dataclass(frozen=True)
class MarketSettings:
    """One market."""

    feed: str
    name: str
    symbol: str
    params: MarketParams
    risk: RiskParams


@dataclass(frozen=True)
class Settings:
    """A deploy file, checked as far as it can be without the chain."""

    path: Path
    profile: str
    chain_id: int
    confirmations: int
    salt: str
    owner: str
    guardian: str
    treasury: str
    publishers: tuple[str, ...]  # ascending
    token: TokenSettings
    feeds: Mapping[str, SignedFeed | AggregatorFeed]
    markets: Mapping[str, MarketSettings]

    @property
    def network(self) -> str:
        """Name of the network: that of the file."""
        return self.path.stem

    def digest(self) -> str:
        """Of everything that decides what is deployed."""
        content = asdict(self)
        del content["path"], content["confirmations"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def error(self, key: str, problem: str) -> InputError:
        """An error about a key of this file."""
        return InputError(f"{self.path}: {key}: {problem}")


def read_settings(path: Path) -> Settings:
    """The deploy file. InputError names the key and what to do about it."""
    try:
        content = tomllib.loads(path.read_text(), parse_float=Decimal)
    except FileNotFoundError:
        raise InputError(f"{path}: no such deploy file; {_known(path.parent)}") from None
    except (OSError, ValueError) as error:  # ValueError: not TOML, or not text
        raise InputError(f"{path}: not readable as TOML: {error}") from None
    top = _Table(path, "", content)
    profile = top.take("profile", _one_of(PROFILES))
    chain_id = top.take("chain_id", _whole(1, 2**53))
    confirmations = top.take("confirmations", _whole(1, 1_000), 1)
    salt = top.take("salt", _text(1, 64), "ringfence")
    roles = top.table("roles")
    owner, guardian, treasury = (roles.take(k, _address) for k in ("owner", "guardian", "treasury"))
    publishers = roles.take("publishers", _publishers, ())
    roles.finish()
    given = profile == "production"
    token = _token(top.table("token"), given)
    feeds = {name: _feed(table, publishers, given) for name, table in top.table("feeds").tables()}
    markets = {
        name: _market(table, feeds, token.decimals) for name, table in top.table("markets").tables()
    }
    top.finish()
    _check_use(path, feeds, markets)
    return Settings(
        path,
        profile,
        chain_id,
        confirmations,
        salt,
        owner,
        guardian,
        treasury,
        publishers,
        token,
        feeds,
        markets,
    )


def _check_use(
    path: Path,
    feeds: Mapping[str, SignedFeed | AggregatorFeed],
    markets: Mapping[str, MarketSettings],
) -> None:
    used = [market.feed for market in markets.values()]
    for name, market in markets.items():
        if used.count(market.feed) > 1:
            problem = f"{market.feed!r} serves another market too: give each market its own feed"
            raise InputError(f"{path}: markets.{name}.feed: {problem}")
    for name in feeds:
        if name not in used:
            problem = "no market uses this feed: name it in one, or remove it"
            raise InputError(f"{path}: feeds.{name}: {problem}")


def _token(table: "_Table", given: bool) -> TokenSettings:
    decimals = table.take("decimals", _whole(0, MAX_DECIMALS))
    address = table.take("address", _address, None if not given else _REQUIRED)
    table.finish()
    return TokenSettings(address, decimals)


def _feed(table: "_Table", publishers: tuple[str, ...], given: bool) -> SignedFeed | AggregatorFeed:
    kind = table.take("kind", _one_of({"signed": "", "aggregator": ""}))
    decimals = table.take("decimals", _whole(0, MAX_DECIMALS))
    feed: SignedFeed | AggregatorFeed
    if kind == "signed":
        if not publishers:
            raise table.root_error("roles.publishers", "a signed feed needs publishers: list them")
        most = len(publishers)
        quorum = table.take("quorum", _whole(1, most, f"the publishers are {most}"))
        feed = SignedFeed(table.take("id", _feed_id), decimals, quorum)
    else:
        sequencer = table.take("sequencer", _address, None)
        feed = AggregatorFeed(
            aggregator=table.take("aggregator", _address, None if not given else _REQUIRED),
            decimals=decimals,
            heartbeat=table.take("heartbeat", _whole(1, 2**48 - 1)),
            confidence_fraction=table.take("confidence_fraction", _scaled(WAD_PLACES)),
            sequencer=sequencer,
            grace_period=table.take(
                "grace_period", _whole(0, 2**48 - 1), 0 if sequencer is None else _REQUIRED
            ),
        )
        table.check(feed_bounds(feed.confidence_fraction), lambda _: WAD_PLACES)
    table.finish()
    return feed


def _market(
    table: "_Table", feeds: Mapping[str, SignedFeed | AggregatorFeed], decimals: int
) -> MarketSettings:
    feed = table.take("feed", _one_of(feeds))
    name, symbol = table.take("name", _text(1, 25)), table.take("symbol", _text(1, 5))
    places: Callable[[str], int] = lambda key: places_of(key, decimals)  # noqa: E731 - of a closure
    fixed, changing = table.table("params"), table.table("risk")
    params = MarketParams(**_numbers(fixed, MarketParams, places))
    fixed.check(market_bounds(params), places)
    risk = RiskParams(**_numbers(changing, RiskParams, places))
    changing.check(risk_bounds(risk, params), places)
    try:  # what the contracts run: nothing may pass that they refuse
        enforced._check_market_params(params)
        enforced._check_risk_params(risk, params)
    except Revert as error:
        raise table.error("", f"the factory would refuse it: {error}") from None
    table.finish()
    return MarketSettings(feed, name, symbol, params, risk)


def places_of(key: str, decimals: int) -> int:
    """Decimal places by which a number of the file is moved to become an integer."""
    return 0 if key in SECONDS else decimals if key in TOKENS else WAD_PLACES


def _numbers(
    table: "_Table", kind: type[MarketParams] | type[RiskParams], places: Callable[[str], int]
) -> dict[str, Any]:
    lengths = {"tier_sizes": constants.TIERS, "initial_fractions": constants.TIERS}
    lengths |= {"maintenance_fractions": constants.TIERS, "move_windows": 2, "max_moves": 2}
    found = {}
    for key in kind._fields:
        number = _scaled(places(key))
        found[key] = table.take(key, _list_of(number, lengths[key]) if key in lengths else number)
    table.finish()
    return found


class _Required:
    """Stands for no default."""


_REQUIRED: Any = _Required()


class _Table:
    """A table of the file: each key is taken once, what is left over is unknown."""

    def __init__(self, path: Path, name: str, content: Any) -> None:
        self.path = path
        self.name = name
        if not isinstance(content, dict):
            raise InputError(f"{path}: {name}: is no table: write [{name}] and keys below it")
        self._left = dict(content)
        self._asked: list[str] = []

    def error(self, key: str, problem: str) -> InputError:
        return self.root_error(self._full(key), problem)

    def root_error(self, key: str, problem: str) -> InputError:
        return InputError(f"{self.path}: {key}: {problem}")

    def _full(self, key: str) -> str:
        return ".".join(part for part in (self.name, key) if part)

    def take(self, key: str, convert: Callable[[Any], Any], default: Any = _REQUIRED) -> Any:
        """The value of a key, converted; ValueError becomes an error about the key."""
        self._asked.append(key)
        if key not in self._left:
            if default is not _REQUIRED:
                return default
            self._suggest()
            raise self.error(key, "is missing: add it (networks/local.toml has an example of each)")
        try:
            return convert(self._left.pop(key))
        except ValueError as error:
            raise self.error(key, str(error)) from None

    def table(self, key: str) -> "_Table":
        """A table within this one, which has to be there."""
        self._asked.append(key)
        if key not in self._left:
            self._suggest()
            raise self.error(key, f"is missing: add a table [{self._full(key)}]")
        return _Table(self.path, self._full(key), self._left.pop(key))

    def tables(self) -> Iterator[tuple[str, "_Table"]]:
        """The tables within this one, of any name that a key of a manifest can end with."""
        if not self._left:
            raise self.error("", f"is empty: add a table such as [{self.name}.eth]")
        for key in list(self._left):
            if not key.replace("-", "_").isidentifier() or not key.isascii():
                raise self.error(key, "is no name: use letters, digits, - and _")
            yield key, self.table(key)

    def check(self, bounds: Iterator[Bound], places: Callable[[str], int]) -> None:
        """The bounds of numbers taken before, told in the unit of the file."""
        for bound in bounds:
            problem = bound.problem(places(bound.key.partition("[")[0]))
            if problem:
                raise self.error(bound.key, problem)

    def finish(self) -> None:
        """Nothing may be left over."""
        for key in self._left:
            raise self.error(key, f"is no key of {self._where()}: {self._remedy(key)}")

    def _suggest(self) -> None:
        # A missing key is most often a misspelt one.
        for key in self._left:
            if difflib.get_close_matches(key, self._asked[-1:], 1, 0.75):
                raise self.error(key, f"is no key of {self._where()}: {self._remedy(key)}")

    def _where(self) -> str:
        return f"[{self.name}]" if self.name else "a deploy file"

    def _remedy(self, key: str) -> str:
        close = difflib.get_close_matches(key, self._asked, 1)
        return f"did you mean {close[0]}?" if close else f"remove it; {', '.join(self._asked)} are"


def _known(folder: Path) -> str:
    """The deploy files beside one that is not there; if there are none, the project's."""
    for place in (folder, NETWORKS):
        names = sorted(found.name for found in place.glob("*.toml"))
        if names:
            return f"in {place} there are: {', '.join(names)}: name one, or copy it"
    return "write one like networks/local.toml of the project"


def _one_of(choices: Mapping[str, Any]) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"{value!r} is none of {', '.join(choices)}: choose one")
        return str(value)

    return convert


def _whole(low: int, high: int, why: str = "") -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            reason = f" ({why})" if why else ""
            remedy = "write it without quotes" if isinstance(value, str) else "change it"
            shown = value if isinstance(value, Decimal) else repr(value)
            raise ValueError(f"{shown} is no whole number from {low} to {high}{reason}: {remedy}")
        return value

    return convert


def _text(shortest: int, longest: int) -> Callable[[Any], str]:
    def convert(value: Any) -> str:
        if not isinstance(value, str) or not shortest <= len(value.encode()) <= longest:
            raise ValueError(f"{value!r} is no text of {shortest} to {longest} bytes: change it")
        return value

    return convert


def _scaled(places: int) -> Callable[[Any], int]:
    """A number of the file as an integer of 10**-places."""

    def convert(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            raise ValueError(f"{value!r} is no number: write one, such as 0.02, without quotes")
        number = Decimal(value)
        if not number.is_finite() or number < 0 or abs(number.adjusted()) > 60:
            raise ValueError(f"{value} is no number from 0 on: change it")
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)  # it is finite
        shift = exponent + places
        whole = int("".join(map(str, digits)))
        if shift >= 0:
            return whole * int(10**shift)
        quotient, rest = divmod(whole, int(10**-shift))
        if rest:
            raise ValueError(f"{value} has more than {places} decimal places: round it")
        return quotient

    return convert


def _list_of(convert: Callable[[Any], int], length: int) -> Callable[[Any], tuple[int, ...]]:
    def whole(value: Any) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) != length:
            raise ValueError(f"is no list of {length} numbers: write [..] with {length}")
        return tuple(convert(item) for item in value)

    return whole


def _address(value: Any) -> str:
    """An address in lower case; one with capitals has to have the right ones (EIP-55)."""
    text = value if isinstance(value, str) else ""
    digits = text[2:]
    if not text.startswith("0x") or len(digits) != 40 or set(digits) - set(_HEX):
        raise ValueError(f"{value!r} is no address: write 0x and 40 hexadecimal digits")
    if digits not in (digits.lower(), digits.upper()) and not is_checksum_address(text):
        raise ValueError(f"{text} has a wrong checksum: a digit is mistyped, copy it again")
    if text.lower() == ZERO_ADDRESS:
        raise ValueError("is the zero address: nobody would hold this role; name an address")
    return text.lower()


def _publishers(value: Any) -> tuple[str, ...]:
    """Ascending, as the feed wants them."""
    if not isinstance(value, list) or len(value) > MAX_PUBLISHERS:
        raise ValueError(f"is no list of at most {MAX_PUBLISHERS} addresses: shorten it")
    found = [_address(item) for item in value]
    for address in found:
        if found.count(address) > 1:
            raise ValueError(f"{address} is listed twice: remove one")
    return tuple(sorted(found))


def _feed_id(value: Any) -> str:
    """32 bytes as they are, or the hash of a name."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no name: write one such as 'ETH/USD', or 0x and 64 digits")
    if value.startswith("0x"):
        if len(value) != 66 or set(value[2:]) - set(_HEX):
            raise ValueError(f"{value!r} is neither a name nor 0x and 64 hexadecimal digits")
        return value.lower()
    return "0x" + keccak(value.encode()).hex()


_HEX = "0123456789abcdefABCDEF"
