"""Compares what is on the chain with the manifest, and both with source and deploy file.

The source is deployed once more in an EVM of this process, at the same addresses; the code that
this leaves, immutables included, and what its getters say is what the chain must have.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from web3 import Web3

from lockstep.errors import InputError
from operations.chain import Chain, check_chain_id, hash_of
from operations.codec import artifact_of, calldata, decoded
from operations.manifest import Contract, Manifest, read_manifest
from operations.plan import OWNED, Plan, compiler, git_commit, make_plan, origin_of, unlike
from operations.settings import AggregatorFeed, Settings
from python_model.evm import ZERO_ADDRESS

# What does not change by itself. A test finds every getter here or in LIVE.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "PerpMarket": ("token", "pool", "engine", "feed", "factory", "version"),
    "LiquidityPool": ("market", "asset", "name", "symbol", "decimals", "version"),
    "RiskEngine": ("market", "configurator", "market_params", "params", "version"),
    "SignedPriceFeed": (
        "FEED_ID",
        "DECIMALS",
        "publishers",
        "quorum",
        "market",
        "eip712Domain",
        "version",
    ),
    "AggregatorPriceFeed": (
        "AGGREGATOR",
        "HEARTBEAT",
        "CONFIDENCE_FRACTION",
        "SEQUENCER_FEED",
        "GRACE_PERIOD",
        "DECIMALS",
        "market",
        "version",
    ),
    "Configurator": ("guardian", "DELAY", "MAX_RESTRICTION", "version"),
    "MarketFactory": (
        "MARKET_BLUEPRINT",
        "POOL_BLUEPRINT",
        "ENGINE_BLUEPRINT",
        "CONFIGURATOR",
        "treasury",
        "version",
    ),
    "MarketLens": ("version",),
    "testing/TokenMock": ("decimals", "fee_bps", "hook_target", "version"),
    "testing/AggregatorMock": (
        "decimals_output",
        "is_round_failing",
        "is_decimals_failing",
        "version",
    ),
}
# What moves with use, or is looked at in words of its own (ownership).
LIVE: dict[str, tuple[str, ...]] = {
    "PerpMarket": (
        "marks",
        "totals",
        "pool_terms",
        "solvency",
        "bad_debt",
    ),
    "LiquidityPool": (
        "account",
        "cash",
        "claims",
        "totalSupply",
        "totalAssets",
    ),
    "RiskEngine": ("breaker",),
    "SignedPriceFeed": ("latest_price",),
    "AggregatorPriceFeed": ("latest_price",),
    "Configurator": ("owner", "pending_owner"),
    "MarketFactory": ("owner", "pending_owner", "market_count"),
    "MarketLens": (),
    "testing/TokenMock": ("totalSupply", "hook_calldata"),
    "testing/AggregatorMock": ("round_output", "latestRoundData", "decimals"),
}


@dataclass
class Report:
    """What was compared, what differs, what is worth knowing."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """What there is to say."""
        yield from self.notes
        for difference in self.differences:
            yield f"DIFFERS  {difference}"
        count = len(self.differences)
        yield f"{self.compared} compared, " + (f"{count} differ" if count else "all equal")

    def equal(self, what: str, found: Any, meant: Any, where: str) -> None:
        """Compares, part by part where there are parts."""
        if (
            isinstance(found, Mapping)
            and isinstance(meant, Mapping)
            and found.keys() == meant.keys()
        ):
            for name in meant:
                self.equal(f"{what}.{name}", found[name], meant[name], where)
            return
        self.compared += 1
        if found != meant:
            self.differences.append(f"{what}: {found} {where}, {meant} by source and deploy file")


def verify(web3: Web3, settings: Settings, path: Path) -> Report:
    """Compares a deployment. InputError if there is none, or it is for another chain."""
    check_chain_id(web3, settings)
    manifest = read_manifest(path, unfinished=True)
    if manifest.chain_id != settings.chain_id:
        raise InputError(
            f"{path}: chain_id: {manifest.chain_id}, but {settings.path} is for chain "
            f"{settings.chain_id}: name the file or the manifest that belongs to the other"
        )
    return compare(Chain(web3), settings, manifest)


def check_deployed(web3: Web3, manifest: Manifest) -> None:
    """Refuses a chain that does not have the contracts of a manifest: InputError names the first.

    For whoever works with a deployment: it asks for a code per contract.
    """
    found = int(web3.eth.chain_id)
    if found != manifest.chain_id:
        raise InputError(
            f"chain_id: the manifest is of chain {manifest.chain_id}, the network is {found}: "
            "choose another --network"
        )
    chain = Chain(web3)
    for key, entry in manifest.contracts.items():
        if hash_of(chain.code(entry.address)) != entry.code_hash:
            raise InputError(
                f"contracts.{key}: another contract, or none, is at {entry.address}: choose "
                "another --network, or see `ape run deploy verify`"
            )


def compare(chain: Chain, settings: Settings, manifest: Manifest) -> Report:
    """Everything that can be compared."""
    report = Report()
    nonce = 1 + int(
        chain.web3.eth.get_transaction_count(
            chain.web3.to_checksum_address(manifest.roles.deployer), "latest"
        )
    )
    plan = make_plan(settings, origin_of(chain, manifest, nonce))
    _compare_manifest(report, settings, manifest, plan)
    for key, entry in manifest.contracts.items():
        _compare_code(report, chain, key, entry, plan)
    moved = {
        piece.address: manifest.contracts[key].address
        for key, piece in plan.pieces().items()
        if key in manifest.contracts
    }
    for key, entry in manifest.contracts.items():
        if entry.how != "given" and not key.endswith("_blueprint") and key in plan.pieces():
            _compare_getters(report, chain, key, entry, plan, moved)
    _compare_given(report, chain, settings)
    for key, name in OWNED.items():
        if key in manifest.contracts:
            _compare_owner(report, chain, manifest, key, name)
    _announcements(report, chain, manifest)
    return report


def _compare_manifest(report: Report, settings: Settings, manifest: Manifest, plan: Plan) -> None:
    where = "in the manifest"
    if not manifest.finished:
        report.differences.append("finished: the deployment was interrupted: run it again")
    elif manifest.settings != settings.digest():
        report.notes.append(f"{settings.path} was changed since this was deployed")
    report.equal("profile", manifest.profile, settings.profile, where)
    report.equal("network", manifest.network, settings.network, where)
    report.equal("compiler", asdict(manifest.compiler), asdict(compiler()), where)
    roles = asdict(manifest.roles)
    for name in ("owner", "guardian", "treasury"):
        report.equal(f"roles.{name}", roles[name], getattr(settings, name), where)
    report.equal("roles.publishers", roles["publishers"], list(settings.publishers), where)
    for key in plan.pieces().keys() - manifest.contracts.keys():
        report.differences.append(f"{key}: not in the manifest")
    for key, name, found, meant in unlike(manifest, plan):
        report.equal(f"{key}{name}", found, meant, where)
    report.compared += len(manifest.contracts)
    commit = git_commit()
    if commit != manifest.git_commit:
        report.notes.append(f"the source here is {commit}, deployed was {manifest.git_commit}")


def _compare_code(report: Report, chain: Chain, key: str, entry: Contract, plan: Plan) -> None:
    code = chain.code(entry.address)
    report.compared += 1
    if not code:
        report.differences.append(f"{key}: no code on the chain at {entry.address}")
        return
    if hash_of(code) != entry.code_hash:
        report.differences.append(f"{key}: code on the chain is not that of the manifest")
    piece = plan.pieces().get(key)
    if piece is not None and piece.code and code != piece.code:
        pairs = enumerate(zip(code, piece.code, strict=False))
        place = next((i for i, (a, b) in pairs if a != b), min(len(code), len(piece.code)))
        report.differences.append(
            f"{key}: code on the chain differs from the source's, first at byte {place:,} of "
            f"{len(piece.code):,}"
        )


def _compare_getters(
    report: Report,
    chain: Chain,
    key: str,
    entry: Contract,
    plan: Plan,
    moved: Mapping[str, str],
) -> None:
    artifact = artifact_of(entry.contract)
    address = plan.address(key)
    for name in PARAMETERS[entry.contract]:
        answer = plan.rehearsal.view(address, calldata(artifact, name))
        meant = _moved(decoded(artifact, name, answer), moved)
        found = chain.view(entry.address, entry.contract, name)
        report.equal(f"{key}.{name}", found, meant, "on the chain")
    if entry.contract == "PerpMarket":
        factory = str(entry.arguments["factory_"])
        found = chain.view(factory, "MarketFactory", "is_market", entry.address)
        report.equal(f"factory.is_market({entry.address})", found, True, "on the chain")


def _moved(value: Any, moved: Mapping[str, str]) -> Any:
    """With the addresses of the manifest in place of those of the rehearsal: they differ where the
    source has changed, which is told once."""
    if isinstance(value, Mapping):
        return {name: _moved(part, moved) for name, part in value.items()}
    if isinstance(value, list):
        return [_moved(part, moved) for part in value]
    return moved.get(value, value) if isinstance(value, str) else value


def _compare_given(report: Report, chain: Chain, settings: Settings) -> None:
    for what, address, decimals in _given(settings):
        report.equal(f"{what}.decimals", chain.decimals(address), decimals, "on the chain")


def _given(settings: Settings) -> Iterator[tuple[str, str, int]]:
    if settings.token.address is not None:
        yield "token", settings.token.address, settings.token.decimals
    for name, feed in settings.feeds.items():
        if isinstance(feed, AggregatorFeed) and feed.aggregator is not None:
            yield f"aggregator:{name}", feed.aggregator, feed.decimals


def _compare_owner(
    report: Report, chain: Chain, manifest: Manifest, key: str, contract: str
) -> None:
    """Whether the ownership was accepted is nobody's mistake."""
    address = manifest.contracts[key].address
    owner = chain.view(address, contract, "owner")
    offered = chain.view(address, contract, "pending_owner")
    meant, deployer = manifest.roles.owner, manifest.roles.deployer
    report.compared += 1
    if owner == meant:
        report.notes.append(
            f"{key}: owned by {owner}"
            + ("" if offered == ZERO_ADDRESS else f", who offers it to {offered}")
        )
    elif owner == deployer and offered == meant:
        report.notes.append(
            f"{key}: owned by the deployer {owner}; offered to {meant}, who has not accepted it "
            "yet (accept_ownership)"
        )
    else:
        report.differences.append(
            f"{key}.owner: {owner} on the chain, offered to {offered}; {meant} by the manifest"
        )


def _announcements(report: Report, chain: Chain, manifest: Manifest) -> None:
    """What the owner has announced, and what the guardian holds."""
    configurator = manifest.contracts.get("configurator")
    if configurator is None:
        return
    for key, entry in manifest.contracts.items():
        if key.startswith("market:"):
            what = ("proposed_params", "parameters")
        elif entry.contract == "SignedPriceFeed":
            what = ("proposed_publishers", "publishers")
        else:
            continue
        answer = chain.view(configurator.address, "Configurator", what[0], entry.address)
        if answer and answer[0] != "0":
            report.notes.append(f"{key}: other {what[1]} are announced, from {answer[0]} on")
