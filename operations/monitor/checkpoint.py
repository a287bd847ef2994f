"""The state of a replica as bytes, so that a restart need not make every call again.

JSON of named records: nothing in it runs when it is read. What a checkpoint means depends on the
code that wrote it: one of another `source()` is not taken, and all calls are made again.
"""

import json
import zlib
from dataclasses import fields, is_dataclass
from functools import cache
from hashlib import sha256
from typing import Any

from operations.codec import ROOT
from operations.monitor.outside import Aggregator, Outside
from operations.monitor.records import Block
from operations.monitor.replica import COUNTED, Happened, Replica
from python_model.configurator import ParamsProposal, PublishersProposal
from python_model.evm import Chain, Contract, Event, Storage
from python_model.invariants import Observation
from python_model.perp_market import MarketParams, Marks, Position
from python_model.risk_engine import PriceWindow, RiskParams, Terms

RECORDS: dict[str, type[Any]] = {
    record.__name__: record
    for record in (
        Event,
        Happened,
        MarketParams,
        Marks,
        ParamsProposal,
        Position,
        PriceWindow,
        PublishersProposal,
        RiskParams,
        Terms,
    )
}
WIRING = (Aggregator, Chain, Outside)  # how the models are connected: not state


class Unusable(ValueError):
    """A checkpoint that does not fit the replica."""


def taken(replica: Replica) -> bytes:
    """The state after the last block, the market being there."""
    seen, chain = replica.seen, replica.chain
    assert seen is not None
    known: dict[str, dict[str, str]] = {}
    for (address, slot), value in replica._known.items():
        known.setdefault(address, {})[hex(slot)] = hex(value)
    content = {
        "contracts": {
            contract.address: {
                name: _out(value)
                for name, value in contract.__dict__.items()
                if not isinstance(value, WIRING)
            }
            for contract in chain.contracts
        },
        "known": known,
        "seen": {name: _out(getattr(seen, name)) for name in COUNTED},
        "recent": _out(list(replica.recent)),
        "calls": replica.calls,
    }
    return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 1)


def put_back(replica: Replica, block: Block, state: bytes) -> None:
    """Makes a replica, in which the market is there, what another was after a block. From there on
    blocks can be taken back. Unusable if it cannot be; the replica must not be used then."""
    system, chain, words = replica.system, replica.chain, replica._words
    assert system is not None
    assert words is not None
    try:
        content = json.loads(zlib.decompress(state))
        contracts = {contract.address: contract for contract in chain.contracts}
        if contracts.keys() != content["contracts"].keys():
            raise Unusable("it has other contracts")
        for address, values in content["contracts"].items():
            for name, value in values.items():
                _set(contracts[address], name, value, contracts)
        chain.timestamp, replica.last = block.timestamp, block
        chain.writes, chain.events, chain.saved = [], [], {}
        chain.results.clear()
        replica.seen = seen = Observation(system.market)
        seen.refile()
        for name in COUNTED:
            setattr(seen, name, _in(content["seen"][name], contracts))
        replica.recent.clear()
        replica.recent.extend(_in(content["recent"], contracts))
        replica.calls = content["calls"]
        replica._known.clear()
        for address, values in content["known"].items():
            for slot, value in values.items():
                replica._known[address, int(slot, 16)] = int(value, 16)
    except Exception as error:  # whatever it is: the blocks say it all
        raise Unusable(f"{type(error).__name__}: {error}") from error
    words.forget()
    replica._journal.clear()


@cache
def source() -> str:
    """Digest of the code whose state a checkpoint is."""
    digest = sha256()
    for folder in ("python_model", "operations/monitor"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(ROOT).as_posix()} {len(content)} ".encode())
            digest.update(content)
    return digest.hexdigest()


def _set(contract: Contract, name: str, value: Any, contracts: dict[str, Contract]) -> None:
    """Mappings stay the same objects: others refer to them."""
    if not isinstance(value, dict) or "mapping" not in value:
        setattr(contract, name, _in(value, contracts))
        return
    storage = getattr(contract, name)
    if not isinstance(storage, Storage):
        raise Unusable(f"{name} of {contract.address} is no mapping")
    storage.clear()
    for key, held in value["mapping"]:
        dict.__setitem__(storage, _in(key, contracts), _in(held, contracts))


def _out(value: Any) -> Any:
    """What JSON has not is an object of one item: what it is, and its content."""
    kind = type(value)
    if kind in (int, str, bool) or value is None:
        return value
    if kind is list:
        return [_out(one) for one in value]
    if kind is tuple:
        return {"tuple": [_out(one) for one in value]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if isinstance(value, dict):
        return {"mapping": [[_out(key), _out(held)] for key, held in value.items()]}
    if isinstance(value, Contract):
        return {"contract": value.address}
    if RECORDS.get(kind.__name__) is not kind:
        raise TypeError(f"no state of a replica: {value!r}")
    held = [getattr(value, one.name) for one in fields(value)] if is_dataclass(value) else value
    return {kind.__name__: [_out(one) for one in held]}


def _in(value: Any, contracts: dict[str, Contract]) -> Any:
    """What `_out` was given."""
    if isinstance(value, list):
        return [_in(one, contracts) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "contract":
        return contracts[content]
    if kind == "mapping":
        return {_in(key, contracts): _in(held, contracts) for key, held in content}
    parts = [_in(one, contracts) for one in content]
    return tuple(parts) if kind == "tuple" else RECORDS[kind](*parts)
