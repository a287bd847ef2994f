"""The manifest of a deployment: what was deployed where, with what, from which source.

One JSON file per network, written by `ape run deploy` before and after each of its transactions,
each time as a whole. Integers among constructor arguments are strings, addresses lower case.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lockstep.errors import InputError
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams

FORMAT = 1
CHECKSUMS = "checksums"
HOW = ("create2", "create", "by factory", "given")
REMEDY = (
    "take the file from version control, or remove it and run `ape run deploy` again, which finds "
    "what is deployed"
)


@dataclass(frozen=True)
class Contract:
    """One contract of a deployment."""

    contract: str  # as under contracts/: "PerpMarket", "testing/TokenMock"
    address: str
    arguments: Mapping[str, Any]  # of its constructor, by name
    how: str  # one of HOW
    salt: str | None
    transaction: str | None  # None where it was there before
    block: int | None
    code_hash: str  # keccak of its runtime code, immutables included
    initcode_hash: str | None  # keccak of its initcode, arguments included


@dataclass(frozen=True)
class Compiler:
    """What compiled the contracts, and how."""

    version: str
    evm_version: str
    optimize: str


@dataclass(frozen=True)
class Roles:
    """Who has a say. The owner holds what is owned once it has accepted it."""

    owner: str
    guardian: str
    treasury: str
    publishers: list[str]
    deployer: str


@dataclass(frozen=True)
class Attempt:
    """A signed transaction, kept until one with its nonce is mined."""

    transaction: str  # its hash
    raw: str
    most: int  # wei for a unit of gas
    tip: int


@dataclass(frozen=True)
class Pending:
    """What was about to be sent, or was sent without its receipt being seen."""

    key: str  # the step
    nonce: int
    to: str | None
    data: str
    gas: int
    attempts: list[Attempt]  # the same but for the fees


@dataclass(frozen=True)
class Manifest:
    """A deployment, finished or not."""

    network: str
    chain_id: int
    profile: str
    git_commit: str  # "+" at its end: the tree had changes
    settings: str  # sha256 of what the deploy file says
    compiler: Compiler
    roles: Roles
    block: int | None = None  # of the first transaction
    finished: bool = False
    contracts: Mapping[str, Contract] = field(default_factory=dict)
    pending: Pending | None = None
    format: int = FORMAT

    def at(self, key: str) -> Contract:
        """The contract of a key: "factory", "market:eth"."""
        found = self.contracts.get(key)
        if found is None:
            raise InputError(
                f"contracts: the manifest knows no {key!r}, but {', '.join(sorted(self.contracts))}"
            )
        return found

    def markets(self) -> list[str]:
        """Names of the markets."""
        return [key[7:] for key in self.contracts if key.startswith("market:")]

    def market_name(self, chosen: str | None = None) -> str:
        """The market that is meant: the chosen one, or the only one."""
        names = self.markets()
        if chosen is None and len(names) == 1:
            return names[0]
        if chosen in names:
            return str(chosen)
        asked = "there are several markets" if chosen is None else f"no market {chosen!r}"
        raise InputError(f"--market: {asked}: choose one of {', '.join(names) or 'none'}")


def params_of(market: Contract) -> tuple[MarketParams, RiskParams]:
    """The parameters a market was created with."""

    def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: tuple(map(int, value)) if isinstance(value, list) else int(value)
            for name, value in values.items()
        }

    fixed, risk = market.arguments["params"], market.arguments["risk"]
    return MarketParams(**numbers(fixed)), RiskParams(**numbers(risk))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Replaces the file as a whole: whoever is killed leaves the old one or the new one."""
    content = asdict(manifest)
    content[CHECKSUMS] = _checksums(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def read_manifest(path: Path, unfinished: bool = False) -> Manifest:
    """A manifest as it was written. InputError names what is missing, wrong or changed by hand.

    An unfinished deployment is refused, unless `unfinished` says that it is wanted.
    """
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no manifest here: `ape run deploy` writes one") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}): {REMEDY}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise InputError(f"{path}: format: {found!r} is not {FORMAT}: {REMEDY}")
    _check_sums(path, content)
    try:
        manifest = _parse(content)
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: {error}: {REMEDY}") from None
    if not (manifest.finished or unfinished):
        raise InputError(
            f"{path}: finished: the deployment was interrupted: run `ape run deploy` again"
        )
    return manifest


def _parse(content: dict[str, Any]) -> Manifest:
    pending = content["pending"]
    if pending is not None:
        attempts = [_record(Attempt, attempt) for attempt in pending["attempts"]]
        pending = _record(Pending, pending | {"attempts": attempts})
    contracts = {key: _record(Contract, found) for key, found in content["contracts"].items()}
    manifest: Manifest = _record(
        Manifest,
        content
        | {
            "compiler": _record(Compiler, content["compiler"]),
            "roles": _record(Roles, content["roles"]),
            "contracts": contracts,
            "pending": pending,
        },
    )
    return manifest


def _record(kind: type[Any], content: dict[str, Any]) -> Any:
    """A dataclass of exactly these fields."""
    return kind(**{item.name: content[item.name] for item in fields(kind)})


def _parts(content: dict[str, Any]) -> dict[str, Any]:
    """What has a checksum of its own, by the name that an error calls it."""
    known = {item.name for item in fields(Manifest)}
    parts = {name: part for name, part in content.items() if name in known - {"contracts"}}
    return parts | {f"contracts.{key}": entry for key, entry in content["contracts"].items()}


def _checksums(content: dict[str, Any]) -> dict[str, str]:
    return {
        name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]
        for name, part in _parts(content).items()
    }


def _check_sums(path: Path, content: dict[str, Any]) -> None:
    known = {item.name for item in fields(Manifest)} | {CHECKSUMS}
    for name in sorted(known ^ set(content)):
        what = "is missing" if name in known else "is no key of a manifest"
        raise InputError(f"{path}: {name} {what}: {REMEDY}")
    for name in ("contracts", CHECKSUMS):
        if not isinstance(content[name], dict):
            raise InputError(f"{path}: {name} is no table: {REMEDY}")
    written, found = content[CHECKSUMS], _checksums(content)
    for name in sorted(written.keys() | found.keys()):
        if written.get(name) != found.get(name):
            raise InputError(f"{path}: {name} was changed by hand: {REMEDY}")
