"""What is to be deployed, in order: a deploy file worked out to the last byte, by rehearsing it."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from typing import Any

from lockstep.abi import keccak
from lockstep.compiler import EVM_VERSION, blueprint_initcode
from lockstep.errors import InputError
from operations.chain import Chain, hash_of
from operations.codec import (
    ROOT,
    artifact_of,
    calldata,
    constructor_inputs,
    decoded,
    encoded,
    plain_arguments,
)
from operations.manifest import REMEDY, Compiler, Contract, Manifest
from operations.rehearsal import CREATE2_DEPLOYER, Rehearsal, RehearsalError, stand_in
from operations.settings import AggregatorFeed, Settings, SignedFeed
from perp_fuzz.deployment import created_address
from python_model.evm import ZERO_ADDRESS

BLUEPRINTS = {
    "market_blueprint": "PerpMarket",
    "pool_blueprint": "LiquidityPool",
    "engine_blueprint": "RiskEngine",
}
TOKEN, AGGREGATOR = "testing/TokenMock", "testing/AggregatorMock"  # what a test network gets
OWNED = {"configurator": "Configurator", "factory": "MarketFactory"}
OPTIMIZE = "gas"  # what the fuzzer compiles with; a pragma in the source wins


@dataclass(frozen=True)
class Piece:
    """A contract as it will be."""

    contract: str
    address: str
    arguments: Mapping[str, Any]
    how: str
    salt: str | None
    initcode_hash: str | None
    code: bytes  # empty for what is given: its code is its own

    def entry(self, transaction: str | None, block: int | None, code_hash: str) -> Contract:
        """As the manifest has it."""
        return Contract(
            contract=self.contract,
            address=self.address,
            arguments=self.arguments,
            how=self.how,
            salt=self.salt,
            transaction=transaction,
            block=block,
            code_hash=code_hash,
            initcode_hash=self.initcode_hash,
        )


@dataclass(frozen=True)
class Step:
    """One transaction of the deployer."""

    key: str
    title: str
    kind: str  # "create", "market" or "handover"
    to: str | None  # nobody: the transaction creates a contract
    data: bytes
    gas: int  # that the rehearsal took
    pieces: Mapping[str, Piece]  # what it leaves, by the manifest's keys


@dataclass
class Plan:
    """All steps, what is there already, and the rehearsal after the last step."""

    rehearsal: Rehearsal
    steps: list[Step] = field(default_factory=list)
    given: dict[str, Piece] = field(default_factory=dict)

    def pieces(self) -> dict[str, Piece]:
        """Every contract by the manifest's keys."""
        found = dict(self.given)
        for step in self.steps:
            found |= step.pieces
        return found

    def address(self, key: str) -> str:
        """Where a contract is or will be."""
        return self.pieces()[key].address


@dataclass(frozen=True)
class Origin:
    """Whose transactions they are. Without the deterministic deployer, contracts are created with
    the `nonces` that are settled already, by key, and from `next_nonce` on."""

    deployer: str
    has_create2: bool
    next_nonce: int
    nonces: Mapping[str, int] = field(default_factory=dict)


def make_plan(settings: Settings, origin: Origin) -> Plan:
    """Works out every transaction. InputError where the contracts would refuse the settings."""
    return _Planner(settings, origin).plan()


class _Planner:
    def __init__(self, settings: Settings, origin: Origin) -> None:
        self._settings = settings
        self._origin = origin
        self._next = origin.next_nonce
        first = min([origin.next_nonce, *origin.nonces.values()])
        self._plan = Plan(Rehearsal(settings.chain_id, origin.deployer, first))

    def plan(self) -> Plan:
        settings, deployer = self._settings, self._origin.deployer
        for key, name in BLUEPRINTS.items():
            self._create(key, name, is_blueprint=True)
        self._token()
        configurator = self._create("configurator", "Configurator", settings.guardian, deployer)
        blueprints = [self._plan.address(key) for key in BLUEPRINTS]
        roles = (settings.treasury, deployer)
        self._create("factory", "MarketFactory", *blueprints, configurator, *roles)
        self._create("lens", "MarketLens")
        for name in settings.feeds:
            self._feed(name)
        for name in settings.markets:
            self._market(name)
        if settings.owner != deployer:
            for key in OWNED:
                self._hand_over(key)
        return self._plan

    def _token(self) -> None:
        token = self._settings.token
        if token.address is None:
            self._create("token", TOKEN, token.decimals)
        else:
            self._given("token", "IERC20", token.address)
            self._plan.rehearsal.place(token.address, stand_in(token.decimals))

    def _feed(self, name: str) -> None:
        settings, key = self._settings, f"feed:{name}"
        factory = self._plan.address("factory")
        feed = settings.feeds[name]
        if isinstance(feed, SignedFeed):
            who = (factory, self._plan.address("configurator"))
            what = (bytes.fromhex(feed.feed_id[2:]), feed.decimals)
            quorum = (list(settings.publishers), feed.quorum)
            self._create(key, "SignedPriceFeed", *who, *what, *quorum)
            return
        aggregator = self._aggregator(name, feed)
        if feed.sequencer is not None:
            self._given(f"sequencer:{name}", "IAggregator", feed.sequencer)
        self._create(
            key,
            "AggregatorPriceFeed",
            factory,
            aggregator,
            feed.heartbeat,
            feed.confidence_fraction,
            feed.sequencer or ZERO_ADDRESS,
            feed.grace_period,
        )

    def _aggregator(self, name: str, feed: AggregatorFeed) -> str:
        key = f"aggregator:{name}"
        if feed.aggregator is None:
            return self._create(key, AGGREGATOR, feed.decimals)
        self._given(key, "IAggregator", feed.aggregator)
        self._plan.rehearsal.place(feed.aggregator, stand_in(feed.decimals))
        return feed.aggregator

    def _given(self, key: str, contract: str, address: str) -> None:
        self._plan.given[key] = Piece(contract, address, {}, "given", None, None, b"")

    def _create(self, key: str, contract: str, *arguments: Any, is_blueprint: bool = False) -> str:
        """A contract of the deployer's; its address."""
        artifact, salt = artifact_of(contract), None
        inputs = () if is_blueprint else constructor_inputs(artifact)
        initcode = artifact.initcode + encoded(inputs, arguments)
        if is_blueprint:
            initcode = blueprint_initcode(artifact.initcode)
        rehearsal = self._plan.rehearsal
        try:
            if self._origin.has_create2:
                salt = keccak(f"{self._settings.salt} {key}".encode())
                ran = rehearsal.create2(salt, initcode)
                to, data = CREATE2_DEPLOYER, salt + initcode
            else:
                ran = rehearsal.create(initcode, self._nonce(key))
                to, data = None, initcode
        except RehearsalError as error:
            raise self._settings.error(key.replace(":", "s."), f"refused: {error}") from None
        address = "0x" + ran.output.hex()
        piece = Piece(
            contract=contract,
            address=address,
            arguments=plain_arguments(inputs, arguments),
            how="create" if salt is None else "create2",
            salt=None if salt is None else "0x" + salt.hex(),
            initcode_hash="0x" + keccak(initcode).hex(),
            code=rehearsal.code(address),
        )
        what = f"{contract} as a blueprint" if is_blueprint else contract
        title = f"create {what} at {address}"
        self._plan.steps.append(Step(key, title, "create", to, data, ran.gas, {key: piece}))
        return address

    def _nonce(self, key: str) -> int:
        if key in self._origin.nonces:
            return self._origin.nonces[key]
        self._next += 1
        return self._next - 1

    def _market(self, name: str) -> None:
        plan, market = self._plan, self._settings.markets[name]
        token, feed = plan.address("token"), plan.address(f"feed:{market.feed}")
        to = plan.address("factory")
        named = (market.name, market.symbol)
        # As plain tuples: the ABI's encoder asks for them.
        terms = (tuple(market.params), tuple(market.risk))
        data = calldata(artifact_of("MarketFactory"), "create_market", token, feed, *named, *terms)
        try:
            ran = plan.rehearsal.call(to, data)
        except RehearsalError as error:
            raise self._settings.error(f"markets.{name}", f"the factory refuses: {error}") from None
        address = "0x" + ran.output[-20:].hex()
        pieces = self._market_pieces(name, address, (token, feed, to), named, terms)
        title = f"create market {name} at {address}"
        plan.steps.append(Step(f"market:{name}", title, "market", to, data, ran.gas, pieces))

    def _market_pieces(
        self,
        name: str,
        market: str,
        parties: tuple[str, str, str],
        named: tuple[str, str],
        terms: tuple[Any, Any],
    ) -> dict[str, Piece]:
        """The market and what it deploys itself."""
        plan = self._plan
        token, feed, factory = parties
        configurator = plan.address("configurator")
        parts = (plan.address("pool_blueprint"), plan.address("engine_blueprint"))
        decimals = self._settings.token.decimals
        found = (token, feed, factory, configurator, *parts, *named, *terms)
        return {
            f"market:{name}": self._born("PerpMarket", market, found),
            f"pool:{name}": self._born(
                "LiquidityPool", self._part(market, "pool"), (token, *named)
            ),
            f"engine:{name}": self._born(
                "RiskEngine", self._part(market, "engine"), (configurator, decimals, *terms)
            ),
        }

    def _part(self, market: str, name: str) -> str:
        artifact = artifact_of("PerpMarket")
        answer = self._plan.rehearsal.view(market, calldata(artifact, name))
        return str(decoded(artifact, name, answer))

    def _born(self, contract: str, address: str, arguments: Sequence[Any]) -> Piece:
        artifact = artifact_of(contract)
        inputs = constructor_inputs(artifact)
        initcode = artifact.initcode + encoded(inputs, arguments)
        return Piece(
            contract=contract,
            address=address,
            arguments=plain_arguments(inputs, arguments),
            how="by factory",
            salt=None,
            initcode_hash="0x" + keccak(initcode).hex(),
            code=self._plan.rehearsal.code(address),
        )

    def _hand_over(self, key: str) -> None:
        owner, to = self._settings.owner, self._plan.address(key)
        data = calldata(artifact_of(OWNED[key]), "transfer_ownership", owner)
        ran = self._plan.rehearsal.call(to, data)
        title = f"offer ownership of the {key} to {owner}"
        self._plan.steps.append(Step(f"owner:{key}", title, "handover", to, data, ran.gas, {}))


def origin_of(chain: Chain, manifest: Manifest, next_nonce: int) -> Origin:
    """Whose transactions a manifest is made of, and what is settled about them."""
    deployer, pending = manifest.roles.deployer, manifest.pending
    created = {key: item for key, item in manifest.contracts.items() if item.how == "create"}
    by_address = {item.address: key for key, item in created.items()}
    nonces: dict[str, int] = {}
    nonce = 0
    while len(nonces) < len(created):
        key = by_address.get(created_address(deployer, nonce))
        if key is not None:
            nonces[key] = nonce
        elif nonce > next_nonce:
            lost = next(key for key in created if key not in nonces)
            raise InputError(f"contracts.{lost}.address: not an address of {deployer}: {REMEDY}")
        nonce += 1
    if pending is not None and pending.to is None:
        nonces[pending.key] = pending.nonce
    hows = {item.how for item in manifest.contracts.values()} & {"create", "create2"}
    if not hows and pending is not None:
        hows = {"create" if pending.to is None else "create2"}
    has_create2 = hows == {"create2"} if hows else chain.has_create2()
    return Origin(deployer, has_create2, next_nonce, nonces)


def unlike(manifest: Manifest, plan: Plan) -> Iterator[tuple[str, str, Any, Any]]:
    """Where the manifest's contracts are not those of source and deploy file: contract, field,
    what the manifest says, what it should say."""
    pieces = plan.pieces()
    for key, entry in manifest.contracts.items():
        piece = pieces.get(key)
        if piece is None:
            yield key, "", entry.address, "nothing"
            continue
        meant = piece.entry(entry.transaction, entry.block, entry.code_hash)
        if piece.code:
            meant = replace(meant, code_hash=hash_of(piece.code))
        for name, value in asdict(meant).items():
            found = asdict(entry)[name]
            if found != value:
                yield key, f".{name}", found, value


def compiler() -> Compiler:
    """What compiles the contracts here."""
    return Compiler(version("vyper"), EVM_VERSION, OPTIMIZE)


def git_commit() -> str:
    """Commit of the source, with a plus if the contracts have changes that are in none."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return commit + "+" * bool(git("status", "--porcelain", "--", "contracts")) or "unknown"
