"""The market on the model: executes what reached the system, and holds the chain to it.

`Replica.apply(block)` makes every call again, in order, and compares results, reasons, events,
every storage word that either side changed, holdings and `solvency()`; then it checks the
invariants. `undo` takes blocks back. All that is known of the chain comes from the records of
blocks, so the same records make the same replica.

Where the chain differs the model takes over what the chain holds, as if that had been the
transaction: so every invariant is judged on the chain's own state, and what comes later is compared
on its own.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lockstep import abi
from lockstep.compare import outcome_mismatch, show_int, show_output
from lockstep.engines.base import Log, Outcome
from lockstep.step import ModelResult
from operations.monitor.adoption import adopt, people_in
from operations.monitor.functions import Function, Unreadable, functions_of
from operations.monitor.outside import Outside, Refused, Unasked, shown
from operations.monitor.records import Attempt, Block, Entry, Item, Word, entries
from operations.monitor.system import Foreign, Given, Subject, System, base_of
from operations.monitor.words import SystemWords
from perp_fuzz.actions import Unlisted
from perp_fuzz.adapter import flat_fields
from perp_fuzz.deployment import Artifacts
from python_model.evm import Contract, Event, Revert
from python_model.invariants import INVARIANTS, Invariant, Observation

AGREEMENT = "P7"
SOLVENCY = "P6"
SENTENCES = {
    AGREEMENT: "every call ends on the chain as on the model: result, events, storage",
    **{invariant.id: invariant.sentence for invariant in INVARIANTS},
}
JOURNAL = 256  # blocks that can be taken back without the database
REMEMBERED = 1_000  # events
EACH = tuple(item for item in INVARIANTS if item.every <= 1)
LATER = tuple(item for item in INVARIANTS if item.every > 1)


class Finding(NamedTuple):
    """Something that is not as it must be."""

    invariant: str
    block: int
    block_hash: str
    transaction: str  # "" where it is about the block as a whole
    text: str

    @property
    def sentence(self) -> str:
        """What must be."""
        return SENTENCES[self.invariant]


class Difference(Exception):
    """Chain and model differ."""


class Happened(NamedTuple):
    """An event of the system and when it was."""

    block: int
    time: int
    event: Event


@dataclass
class _Undo:
    """How to take a block back."""

    last: Block | None
    timestamp: int
    system: System | None
    seen: dict[str, Any]
    calls: list[tuple[list[Any], dict[Contract, dict[str, Any]], int]] = field(default_factory=list)
    words: list[tuple[Word, int | None]] = field(default_factory=list)


class Replica:
    """One market, followed block by block."""

    def __init__(
        self,
        subject: Subject,
        given: Given,
        artifacts: Artifacts,
        journal: int = JOURNAL,
        again: Callable[[Block], Block] = lambda block: block,
    ) -> None:
        """`again` has the views of a block that do not agree asked for once more."""
        self.subject = subject
        self._again = again
        self.at = subject.addresses
        self.last: Block | None = None
        self.recent: deque[Happened] = deque(maxlen=REMEMBERED)
        self.calls = 0  # of the system, since the beginning
        self._artifacts = artifacts
        self._outside = Outside(self._come_back)
        self._base = base_of(subject, given, self._outside)
        self.chain = self._base.chain
        self.system: System | None = None
        self.seen: Observation | None = None
        self._words: SystemWords | None = None
        self._known: dict[Word, int] = {}  # the chain's storage
        self._journal: deque[_Undo] = deque(maxlen=journal)
        self._names = subject.contract_names
        self._events = {
            address: abi.register_events(artifacts[name].abi)
            for address, name in self._names.items()
        }
        self._functions = {
            address: functions_of(artifacts[name].abi) for address, name in self._names.items()
        }
        self._is_checking = True
        self._findings: list[Finding] = []
        self._block: Block | None = None
        self._transaction = ""
        self._has_foreign = False

    # -- blocks ------------------------------------------------------------------------------------

    def apply(self, block: Block, is_checking: bool = True) -> list[Finding]:
        """Makes a block's calls on the model; what is not as it must be. Without `is_checking`
        invariants are left out: for blocks that were checked before."""
        self._begin(block, is_checking)
        was_there = self.system is not None
        differs = self._run_all(block)
        if self.system is not None:
            if not differs:
                compare = self._compare_changes if was_there else self._compare_everything
                differs = not compare(block)
            if differs:
                self._take_over(block, self.system)
            if is_checking and not self._agree(block, self.system):
                block = self._again(block)
            self._compare_holdings(block, self.system)
            self._compare_solvency(block, self.system)
        self.last = block
        return self._findings

    def check_state(self) -> list[Finding]:
        """The sampled invariants, after the last block, due or not: what they look at is the state.
        The others are about a call, and have been checked after it. What was not told before."""
        told = len(self._findings)
        seen = self.seen
        if seen is not None:
            self._transaction = ""
            for item in LATER:
                self._check(item, seen)
        return self._findings[told:]

    def touched_by(self, block: Block) -> list[Word]:
        """Places of the words that a block changes if the model is right; of all, if it is not or
        if the block creates the market. For blocks of which the node does not tell it."""
        was_there = self.system is not None
        self._begin(block, is_checking=False)
        differs = self._run_all(block)
        words = self._words
        found: list[Word] = []
        if words is not None:
            written = words.touched() if was_there and not differs else words.everything()
            found = [(address, slot) for address, slot, _ in written]
        self.last = block
        self.undo()
        return found

    def undo(self, blocks: int = 1) -> None:
        """Takes the last blocks back. IndexError if the journal does not go back so far."""
        if blocks > len(self._journal):
            raise IndexError(f"{blocks} blocks back, {len(self._journal)} in the journal")
        for _ in range(blocks):
            undo = self._journal.pop()
            self._undo_calls(undo)
            for place, value in reversed(undo.words):
                if value is None:
                    del self._known[place]
                else:
                    self._known[place] = value
            self.chain.timestamp, self.last = undo.timestamp, undo.last
            if undo.system is None:
                self.system = self.seen = self._words = None
        at = self.last.number if self.last else -1
        while self.recent and self.recent[-1].block > at:
            self.recent.pop()

    @property
    def depth(self) -> int:
        """How many blocks can be taken back."""
        return len(self._journal)

    def _begin(self, block: Block, is_checking: bool) -> None:
        self._is_checking = is_checking
        self._findings, self._block, self._transaction = [], block, ""
        self._has_foreign = False
        seen = _figures(self.seen) if self.seen is not None else {}
        undo = _Undo(self.last, self.chain.timestamp, self.system, seen)
        self._journal.append(undo)
        self.chain.timestamp = block.timestamp
        known = self._known
        for place, value in block.words:
            undo.words.append((place, known.get(place)))
            known[place] = value

    def _undo_calls(self, undo: _Undo) -> None:
        """Model and observation as they were before the block."""
        contracts = self.chain.contracts
        for writes, saved, count in reversed(undo.calls):
            for storage, key, old in reversed(writes):
                dict.__setitem__(storage, key, old)
            for contract, state in saved.items():
                contract.__dict__ = state
            del contracts[count:]
        undo.calls.clear()
        if undo.system is not None and self.seen is not None and self._words is not None:
            self.seen.__dict__.update(_copied(undo.seen))
            self.seen.refile()
            self._words.forget()

    def _tell(self, invariant: str, text: str) -> None:
        """Once per invariant and block."""
        assert self._block is not None
        if all(one.invariant != invariant for one in self._findings):
            at = self._block
            finding = Finding(invariant, at.number, at.hash, self._transaction, text)
            self._findings.append(finding)

    # -- calls -------------------------------------------------------------------------------------

    def _run_all(self, block: Block) -> bool:
        """Makes the block's calls; whether one of them ended otherwise than on the chain."""
        for transaction in block.transactions:
            self._transaction = transaction.hash
            try:
                for item in transaction.items:
                    self._run(item)
            except Difference as difference:
                self._tell(AGREEMENT, str(difference))
                return True
        if len(block.transactions) != 1:
            self._transaction = ""
        return False

    def _run(self, item: Item) -> None:
        """One item that no other call is about."""
        if isinstance(item, Attempt):
            self.chain.probe(lambda: self._within(item.items))
            return
        function = self._function(item)
        if function is None:
            return
        seen, count = self.seen, len(self.chain.contracts)
        if seen is not None:
            data = item.data
            about = int.from_bytes(data[4:36], "big") if function.is_about_position else 0
            seen.begin(function.name, about)
        result = self._make(item, function)
        if result.ok:
            self._journal[-1].calls.append((self.chain.writes, self.chain.saved, count))
        self.calls += 1
        self._hold(item, result)
        if result.ok:
            self._remember(self.chain.events)
        if self.system is None:
            self._look_for_market()
        elif seen is not None and self._words is not None:
            if result.ok:
                self._words.note()
            self._see(seen, result.ok)

    def _come_back(self, items: tuple[Item, ...]) -> None:
        """Calls of a token that calls back."""
        if self.seen is not None:
            self.seen.token_is_sound = False
        self._within(items)

    def _within(self, items: tuple[Item, ...]) -> None:
        """Calls in the middle of a transaction of the model: they are part of it."""
        for item in items:
            undo = self._savepoint()
            if isinstance(item, Attempt):
                self._within(item.items)
                undo()
                continue
            function = self._function(item)
            if function is None:
                continue
            first = len(self.chain.events)
            result = self._make(item, function, first)
            if not result.ok:
                undo()
            self._hold(item, result)

    def _savepoint(self) -> Callable[[], None]:
        """What puts everything back as it is now, within a transaction."""
        chain = self.chain
        writes, events, count = len(chain.writes), len(chain.events), len(chain.contracts)
        states = [(contract, contract.__dict__.copy()) for contract in chain.contracts]

        def undo() -> None:
            for storage, key, old in reversed(chain.writes[writes:]):
                dict.__setitem__(storage, key, old)
            del chain.writes[writes:], chain.events[events:], chain.contracts[count:]
            for contract, state in states:
                contract.__dict__ = state

        return undo

    def _function(self, entry: Entry) -> Function | None:
        """What is called; None if it leaves nothing behind, whatever it is."""
        known = self._functions[entry.target]
        selector = entry.data[:4]
        if self.system is None and entry.target in self.at[:3]:
            return None  # nothing is there yet
        if entry.halt or (not entry.is_ok and (entry.is_starved or not entry.is_told)):
            return None  # for lack of gas: the caller's business; or nobody knows why
        if selector in known and known[selector] is None:
            return None
        found = known.get(selector)
        if found is None or entry.value:
            if entry.is_ok:
                what = "takes coins" if found else "accepts a call it does not have"
                raise Difference(f"{self._names[entry.target]} {what}: 0x{entry.data.hex()}")
            return None
        return None if self._is_about_another(entry, found) else found

    def _is_about_another(self, entry: Entry, function: Function) -> bool:
        """Whether a call of configurator or factory is about another market than this one."""
        if entry.target not in (self.at.configurator, self.at.factory):
            return False
        ours = {"market": self.at.market, "feed": self.at.feed}
        for place, name in enumerate(function.inputs):
            if name in ours:
                word = entry.data[4 + 32 * place : 36 + 32 * place]
                if word != abi.word(ours[name]):
                    self._note_foreign(entry, function)
                    return True
        return False

    def _note_foreign(self, entry: Entry, function: Function) -> None:
        self._has_foreign = True
        if function.name == "create_market" and entry.is_ok:
            factory = self._base.factory
            writes: list[Any] = []
            saved: dict[Contract, dict[str, Any]] = {factory: factory.__dict__.copy()}
            self._journal[-1].calls.append((writes, saved, len(self.chain.contracts)))
            factory.market_count += 1

    def _make(self, entry: Entry, function: Function, first: int = 0) -> ModelResult:
        """Makes a call on the model; its events are those from the `first` on."""
        self._outside.begin(entry.asks if entry.is_told else None)
        left = None
        try:
            arguments = [
                self._argument(entry.target, name, value)
                for name, value in zip(
                    function.inputs, function.decode(entry.data[4:]), strict=True
                )
            ]
            value = getattr(self._model(entry.target), function.name)(
                *arguments, sender=entry.sender
            )
            result = ModelResult(
                True, function.output(value), self._logs(self.chain.events[first:])
            )
        except Unreadable:
            result = ModelResult(False, b"", [])
        except Refused as refused:
            result = ModelResult(False, refused.data, [])
        except Revert as revert:
            output = abi.error_string(revert.reason) if revert.reason else b""
            result = ModelResult(False, output, [], revert.reason)
        except Unasked as unasked:
            raise Difference(str(unasked)) from None
        except Difference:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise Difference(f"the model crashed in {function.name}: {text}") from error
        finally:
            left = self._outside.end()
        if result.ok and entry.is_ok and left is not None:
            raise Difference(f"the contract calls {shown(left.target, left.data)}, not the model")
        return result

    def _hold(self, entry: Entry, result: ModelResult) -> None:
        """Difference if the chain's call ended otherwise."""
        logs = self._judged(entry)
        is_same = result.ok is entry.is_ok and (result.output == entry.output or not entry.is_told)
        if is_same and (not result.ok or result.logs == logs):
            return
        output = entry.output if entry.is_told else result.output
        got = Outcome(entry.is_ok, output, logs, entry.halt, 0)
        name = f"{self._names[entry.target]}.{self._label(entry)}"
        raise Difference(f"{name}: {outcome_mismatch(result, got).text}")

    def _judged(self, entry: Entry) -> list[Log]:
        """The logs of a call. Where the pool is created its share token, somebody else's code,
        announces its roles."""
        if self.system is None:
            return [log for log in entry.logs if log[0] != self.at.pool]
        return list(entry.logs)

    def _label(self, entry: Entry) -> str:
        function = self._functions[entry.target].get(entry.data[:4])
        return function.name if function else "call"

    def _model(self, address: str) -> Contract:
        for contract in self.chain.contracts:
            if contract.address == address:
                return contract
        raise Difference(f"{self._names[address]} is called before the model has it")

    def _argument(self, target: str, name: str, value: Any) -> Any:
        """What the model takes: contracts themselves, not their addresses."""
        if name not in ("market", "feed", "token") or not isinstance(value, str):
            return value
        base = self._base
        if value == self.at.feed and target == self.at.configurator:
            return base.feed if self.subject.is_signed else Unlisted(value)
        for contract in self.chain.contracts:
            if contract.address == value:
                return contract
        return Foreign(value, self._outside)

    def _logs(self, events: list[Event]) -> list[Log]:
        return [self._events[address][name](address, *fields) for address, name, fields in events]

    def _remember(self, events: list[Event]) -> None:
        assert self._block is not None
        at = self._block
        self.recent.extend(Happened(at.number, at.timestamp, event) for event in events)

    # -- the beginning -----------------------------------------------------------------------------

    def _look_for_market(self) -> None:
        """From its creation on there is something to watch."""
        base = self._base
        market = base.factory.markets[base.factory.market_count - 1]
        if market is None:
            return
        if market.address != self.at.market or market.pool.address != self.at.pool:
            raise Difference(
                f"the market was created at {market.address}, the manifest says {self.at.market}"
            )
        self.system = System(
            base.chain,
            base.token,
            base.factory,
            base.configurator,
            market,
            market.pool,
            market.engine,
            base.feed,
        )
        base.token.follow(market.address, market.pool.address)
        self.seen = Observation(market)
        self._words = SystemWords(self.system, self._artifacts)

    # -- after the calls of a block ----------------------------------------------------------------

    def _compare_changes(self, block: Block) -> bool:
        """Whether the words that either side changed are equal."""
        words = self._words
        assert words is not None
        expected = {(address, slot): value for address, slot, value in words.touched()}
        if not self._are_known(expected):
            return False
        # What is proposed for another market is in the same contract.
        for (address, slot), value in () if self._has_foreign else block.words:
            if (address, slot) not in expected:
                name = words.name(address, slot)
                text = f"storage of {address}: {name}: became {show_int(value)} unasked"
                self._tell(AGREEMENT, text)
                return False
        return True

    def _compare_everything(self, block: Block) -> bool:
        """Whether every word is equal: when the market is created."""
        assert self._words is not None
        words = self._words.everything()
        return self._are_known({(address, slot): value for address, slot, value in words})

    def _are_known(self, expected: dict[Word, int]) -> bool:
        known = self._known
        for (address, slot), value in expected.items():
            found = known.get((address, slot), 0)
            if found != value:
                self._tell(AGREEMENT, self._word_text(address, slot, value, found))
                return False
        return True

    def _word_text(self, address: str, slot: int, expected: int, found: int) -> str:
        assert self._words is not None
        name = self._words.name(address, slot)
        return f"storage of {address}: {name}: expected {show_int(expected)}, got {show_int(found)}"

    def _compare_holdings(self, block: Block, system: System) -> None:
        """What the token says market and pool hold. What came unasked is nobody's; what is missing
        breaks the books."""
        seen, balances = self.seen, system.token.balanceOf
        assert seen is not None
        for holder, held in zip((self.at.market, self.at.pool), block.balances, strict=True):
            surplus = held - balances.held(holder)
            if surplus == 0:
                continue
            self._journal[-1].calls.append(
                ([(balances, holder, balances.held(holder))], {}, len(self.chain.contracts))
            )
            dict.__setitem__(balances, holder, held)
            missing = self._owed(system, holder) - (held - surplus - seen.donated.get(holder, 0))
            gift = surplus - max(missing, 0)
            if gift > 0:
                seen.donated[holder] = seen.donated.get(holder, 0) + gift
            if surplus < 0:
                seen.token_is_sound = False
                self._tell(
                    "P2", f"{-surplus} tokens of {holder} are gone, by no call of the system"
                )

    def _owed(self, system: System, holder: str) -> int:
        """What the ledgers say it holds."""
        market = system.market
        if holder == self.at.pool:
            return system.pool.cash()
        return market._total_margin + market._insurance + market._fees + market._credits

    def _agree(self, block: Block, system: System) -> bool:
        """Whether the views of the block say what the model says."""
        balances = system.token.balanceOf
        held = tuple(balances.held(holder) for holder in (self.at.market, self.at.pool))
        solvency = abi.words(*flat_fields(system.market.solvency()))
        return (block.balances, block.solvency) == (held, solvency)

    def _compare_solvency(self, block: Block, system: System) -> None:
        expected = abi.words(*flat_fields(system.market.solvency()))
        if block.solvency != expected:
            shown = f"expected {show_output(expected)}, got {show_output(block.solvency)}"
            self._tell(SOLVENCY, f"solvency(): {shown}")

    # -- invariants --------------------------------------------------------------------------------

    def _see(self, seen: Observation, ok: bool) -> None:
        """Notes a transaction and checks what is due."""
        seen.end(ok)
        if not self._is_checking:
            return
        about = seen.about()
        if ok and self.chain.has_changed():
            for item in EACH:
                if not item.about or item.about & about:
                    self._check(item, seen)
        for item in LATER:
            if not seen.turn % item.every:
                self._check(item, seen)

    def _check(self, item: Invariant, seen: Observation) -> None:
        try:
            broken = item.check(seen)
        except Exception as error:  # on a state that cannot be
            broken = f"it cannot be checked: {type(error).__name__}: {error}"
        if broken is not None:
            self._tell(item.id, broken)

    # -- what the chain has instead ----------------------------------------------------------------

    def _take_over(self, block: Block, system: System) -> None:
        """The model takes what the chain holds; every invariant is checked on that.

        If the block has one call, that is taken for what it was: its events, and what it changed.
        Otherwise only the state is judged, since who did what cannot be told."""
        seen, words = self.seen, self._words
        assert seen is not None
        assert words is not None
        entry = self._only_entry(block)
        undo = self._journal[-1]
        if undo.system is not None:
            self._undo_calls(undo)
        while self.recent and self.recent[-1].block == block.number:
            self.recent.pop()
        count = len(self.chain.contracts)
        events = self._events_of(entry) if entry is not None else []
        if entry is not None:
            about = int.from_bytes(entry.data[4:36], "big")
            seen.begin(self._label(entry), about)
        try:
            self.chain.execute(lambda _: self._adopt(block, system, events), system.market)
        except Exception as error:
            self._tell(AGREEMENT, f"what the chain holds cannot be read: {error}")
            return
        undo.calls.append((self.chain.writes, self.chain.saved, count))
        seen.end(entry is not None and entry.is_ok)
        seen.refile()
        words.forget()
        for transaction in block.transactions:
            for one in entries(transaction.items):
                self._remember(self._events_of(one))
        if self._is_checking:
            for item in INVARIANTS:
                self._check(item, seen)

    def _adopt(self, block: Block, system: System, events: list[Event]) -> None:
        chain, known = self.chain, self._known
        chain.saved = {contract: contract.__dict__.copy() for contract in chain.contracts}
        people = {*people_in(block), *self.at.system}
        adopt(system, self._artifacts, lambda address, slot: known.get((address, slot), 0), people)
        for holder, held in zip((self.at.market, self.at.pool), block.balances, strict=True):
            balances = system.token.balanceOf
            if held != balances.held(holder):
                balances.move(holder, held - balances.held(holder))
        chain.events.extend(events)

    def _only_entry(self, block: Block) -> Entry | None:
        found = [item for one in block.transactions for item in one.items]
        return found[0] if len(found) == 1 and isinstance(found[0], Entry) else None

    def _events_of(self, entry: Entry) -> list[Event]:
        """Logs of the chain as the model would write them."""
        found = []
        for address, topics, data in entry.logs:
            event = abi.Event.known.get(topics[0]) if topics else None
            if event is not None:
                values = event.values((address, topics, data))
                found.append(Event(address, event.name, values))
        return found


# What an observation holds besides the open positions: over all transactions, of the last one.
COUNTED = (
    "donated",
    "pool_flow",
    "pool_result",
    "drawn",
    "proposed_at",
    "token_is_sound",
    "turn",
    "measured",
    "earlier",
)
OF_LAST = (
    "action",
    "position_id",
    "ok",
    "events",
    "names",
    "sources",
    "changed",
    "altered",
    "market_was",
    "engine_was",
)
COPIED = ("donated",)


def _figures(seen: Observation) -> dict[str, Any]:
    return _copied({name: getattr(seen, name) for name in COUNTED + OF_LAST})


def _copied(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if name in COPIED else value for name, value in figures.items()}
