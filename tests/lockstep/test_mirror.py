"""Mirrors: every kind of value crosses over exactly, and a model that does not fit is told so."""

import pickle
import random
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest

from lockstep import abi
from lockstep.adapter import Config
from lockstep.campaign import Plan, run_campaign
from lockstep.checker import Checker
from lockstep.engines import open_engine
from lockstep.errors import InputError
from lockstep.mirror import (
    Chain,
    Contract,
    HashMap,
    Mirror,
    MirrorAdapter,
    Revert,
    int256,
    require,
    step,
    uint256,
)
from lockstep.mirror.draw import nearest_edge
from lockstep.step import Step

SOURCE = "Kinds.vy"
CALM, TENSE = 1, 2
PEER = "0x" + "ab" * 20


class Item(NamedTuple):
    owner: str = "0x" + "00" * 20
    amount: int = 0
    tag: bytes = bytes(4)


class Noted(NamedTuple):
    name: str
    who: str
    item: Item
    pair: tuple[int, int]
    data: bytes


class Told(NamedTuple):
    name: str
    mood: int


class Kinds(Contract):
    EVENTS = (Noted, Told)
    VERSION = "1.2"

    def __init__(self, peer: str, item: Item, name: str) -> None:
        self.PEER = self.peer = peer
        self.count = self.signed = 0
        self.is_on = False
        self.mood = 0
        self.last = Item(*item)
        self.pair = (0, 0)
        self.recent: tuple[int, ...] = ()
        self.name, self.data, self.key = name, b"", bytes(32)
        self.items: HashMap[int, Item] = HashMap(Item())
        self.nested: HashMap[tuple[str, int], bool] = HashMap(False)
        self.by_name: HashMap[str, int] = HashMap(0)
        self.by_key: HashMap[bytes, tuple[int, int]] = HashMap((0, 0))

    def note(self, name: str, item: Any, pair: Any, data: bytes, *, msg_sender: str) -> Any:
        require(name, "no name")
        old = self.last
        self.last = Item(item.owner, item.amount, item.tag)
        self.pair, self.name, self.data = pair, name, data
        self.items[self.count] = self.last
        self.by_name[name] += 1
        self.by_key[item.tag] = (len(data), self.count)
        self.count += 1
        require(self.count < 256)
        self.log(Noted(name, msg_sender, self.last, pair, data))
        return self.by_name[name], old

    def push(self, values: Any, is_on: bool = True, signed: int = -7, *, msg_sender: str) -> Any:
        self.recent, self.is_on, self.signed = values, is_on, signed
        self.nested[msg_sender, signed] = is_on
        self.mood = TENSE if is_on else CALM
        self.key = abi.keccak(abi.word(signed))
        self.log(Told(self.name, self.mood))
        return len(values), int(is_on)

    def refuse(self, code: int) -> None:
        require(code != 0)
        require(code != 1, "one")
        raise Revert("Refused", abi.call(abi.selector("Refused(uint256)"), code))

    def sum_of(self, items: Any) -> int:
        total = int256(sum(item.amount for item in items))
        require(total, "nothing")
        return total


class KindsMirror(Mirror):
    name = "kinds"
    root = Path(__file__).parent
    contracts: ClassVar = {"kinds": (SOURCE, Kinds)}

    def deploy(self, config: Config) -> None:
        self.kinds = self.create("kinds", PEER, ("owner", -5, b"\1\2\3\4"), "first")

    @step("kinds.push", weight=3)
    def push(self, rng: random.Random, me: str) -> tuple[Any, ...]:
        values = tuple(rng.randrange(100) for _ in range(rng.randrange(5)))
        return (values, rng.randrange(2), rng.randrange(-5, 5))[: rng.randrange(1, 4)]


ADAPTER = MirrorAdapter(KindsMirror)


@pytest.mark.parametrize(("engine", "steps"), [("revm", 1_500), ("pyevm", 100)])
def test_every_kind_of_value_crosses_over(engine: str, steps: int) -> None:
    result = run_campaign(Plan(ADAPTER, steps, 1, engine=engine, length=500, whole_every=50))
    assert result.divergence is None, result.divergence.text
    succeeded = {action for (action, _, ok, *_), count in result.tally.counts.items() if ok}
    assert succeeded >= {"kinds.note", "kinds.push", "kinds.sum_of"}
    reasons = {reason for *_, reason in result.tally.counts}
    assert reasons >= {"Refused", "one", "", "no name", "nothing"}


def changed_model(**members: Any) -> MirrorAdapter:
    """The adapter with members of the model replaced, or taken away by None."""
    kept = {
        name: value
        for name, value in vars(Kinds).items()
        if name not in ("__dict__", "__weakref__", *members)
    }
    added = {name: value for name, value in members.items() if value is not None}
    model = type("Kinds", (Contract,), kept | added)
    return MirrorAdapter(type("Changed", (KindsMirror,), {"contracts": {"kinds": (SOURCE, model)}}))


class WrongNames(NamedTuple):
    mood: int
    name: str


WrongNames.__name__ = "Told"
INIT = Kinds.__init__


def without_key(self: Any, peer: str, item: Item, name: str) -> None:
    INIT(self, peer, item, name)
    del self.key


def with_plain_dict(self: Any, peer: str, item: Item, name: str) -> None:
    INIT(self, peer, item, name)
    self.items = {}


def with_number_for_mapping(self: Any, peer: str, item: Item, name: str) -> None:
    INIT(self, peer, item, name)
    self.items = 0


def returns_nothing(self: Any, values: Any, is_on: bool = True, signed: int = -7) -> None:
    self.recent = values


MISFITS = {
    "function missing": (
        {"note": None},
        "kinds.note(name, item, pair, data) is missing: write it, or name kinds.note in "
        "`unmirrored` with the reason",
    ),
    "function of another name": (
        {"note": None, "notes": Kinds.note},
        "with the reason; did you mean notes?",
    ),
    "argument of another name": (
        {"refuse": lambda self, number: None},
        "kinds.refuse takes (code) in the contract and (number) in the model",
    ),
    "argument too many": (
        {"refuse": lambda self, code, more: None},
        "kinds.refuse takes (code) in the contract and (code, more) in the model",
    ),
    "two callers": (
        {"refuse": lambda self, code, *, sender, other: None},
        "kinds.refuse has the keyword-only arguments sender, other: keep one",
    ),
    "default missing": (
        {"push": lambda self, values, is_on, signed: 1},
        "kinds.push: give is_on a default, as the contract does",
    ),
    "nothing returned": (
        {"push": returns_nothing},
        "kinds.push returns uint256[2] in the contract and nothing in the model: return it",
    ),
    "something returned": (
        {"refuse": lambda self, code: code},
        "kinds.refuse returns nothing in the contract and a value in the model: drop it",
    ),
    "constructor differs": (
        {"__init__": lambda self, peer: None},
        "kinds.__init__ takes (peer, item, name) in the contract and (peer) in the model",
    ),
    "event missing": (
        {"EVENTS": (Noted,)},
        "event kinds.Told is missing: add NamedTuple Told(name, mood) to EVENTS",
    ),
    "event of other fields": (
        {"EVENTS": (Noted, WrongNames)},
        "event kinds.Told has the fields (name, mood) in the contract and (mood, name)",
    ),
    "event unknown": (
        {"EVENTS": (Noted, Told, Item)},
        "event kinds.Item is in EVENTS and not in the contract",
    ),
    "constant missing": ({"VERSION": None}, "kinds.VERSION() is missing"),
    "variable missing": (
        {"__init__": without_key},
        "storage variable kinds.key (bytes32) is missing: set self.key in the constructor",
    ),
    "plain dictionary": (
        {"__init__": with_plain_dict},
        "items is a dict, which a revert could not restore",
    ),
    "no mapping": ({"__init__": with_number_for_mapping}, "kinds.items wants a HashMap"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_model_that_does_not_fit_is_named_before_the_first_step(misfit: str) -> None:
    members, told = MISFITS[misfit]
    with pytest.raises(InputError) as failure:
        changed_model(**members).check()
    assert told in str(failure.value)
    assert "Kinds" in str(failure.value) or "create('kinds')" in str(failure.value)
    assert "\n" not in str(failure.value)


def with_members(**members: Any) -> MirrorAdapter:
    return MirrorAdapter(type("Changed", (KindsMirror,), members))


def test_what_is_left_out_on_purpose_is_neither_wanted_nor_compared() -> None:
    left_out = {"kinds.refuse": "its reverts are custom", "kinds.key": "no hashes in the model"}
    kinds = changed_model(refuse=None, __init__=without_key)
    adapter = MirrorAdapter(type("Smaller", (kinds.mirror,), {"unmirrored": left_out}))
    adapter.check()
    assert "kinds.refuse" not in adapter.actions
    assert run_campaign(Plan(adapter, 200, 1)).divergence is None


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"unmirrored": {"kinds.refse": "no need"}}, "no contract has it; did you mean kinds.ref"),
        ({"unmirrored": {"kinds.refuse": " "}}, "say why it is left out"),
        ({"deploy": lambda self, config: None}, "deploy() does not create 'kinds'"),
        ({"deploy": lambda self, config: self.create("kinds", PEER)}, "takes (peer, item, name)"),
        (
            {"extra": step("kinds.pusch")(lambda self, rng, me: ())},
            "there is no action 'kinds.pusch'; choose one of kinds.note, kinds.push",
        ),
        (
            {"extra": step("kinds.push", by=["ownr"])(lambda self, rng, me: ())},
            "there is no role 'ownr'; choose one of owner, user_0",
        ),
        ({"roles": ("payer",)}, "there is no role 'owner'; choose one of payer"),
        ({"relays": ("proxy",)}, "there is no role 'proxy'; choose one of owner"),
        (
            {"deploy": lambda self, config: self.create("kind")},
            "there is no contract 'kind'; choose one of kinds",
        ),
        (
            {"deploy": lambda self, config: self.create("kinds", "nobody", ("owner", 0, b""), "")},
            "create('kinds'): ['nobody', ",
        ),
        (
            {"deploy": lambda self, config: self.call("owner", "kinds.push")},
            "there is no action 'kinds.push'; choose one of",
        ),
    ],
)
def test_a_mirror_that_does_not_fit_is_told_so(members: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as failure:
        with_members(**members).check()
    assert told in str(failure.value)


def test_a_planted_text_must_be_there_once() -> None:
    with pytest.raises(InputError, match="0 times"):
        ADAPTER.planted(SOURCE, "no such text", "")


PLANTED = {
    "struct in a mapping": (
        "self.items[convert(self.count, uint256)] = item",
        "self.items[convert(self.count, uint256)] = old",
        "storage",
        "kinds.items[0] (word ",
    ),
    "nested mapping": (
        "self.nested[msg.sender][signed] = is_on",
        "self.nested[msg.sender][signed] = not is_on",
        "storage",
        "kinds.nested[user_",
    ),
    "event data": ("pair=pair, data=data", "pair=pair, data=b''", "events", "expected Noted("),
    "revert data": ("Refused(uint256)", "Refusal(uint256)", "revert reason", "raw data 0x"),
    "constant": ('= "1.2"', '= "1.3"', "return value", "expected (32, 3, "),
    "view that should revert": (
        '    assert total != 0, "nothing"',
        "",
        "contract succeeds",
        "nothing",
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_difference_of_any_kind_is_found_and_named(bug: str) -> None:
    old, new, kind, told = PLANTED[bug]
    found = run_campaign(Plan(ADAPTER.planted(SOURCE, old, new), 600, 2, length=300)).divergence
    assert found is not None
    assert (found.kind, told in found.text) == (kind, True), found.text


def test_views_that_revert_are_compared_with_the_whole_state() -> None:
    buggy = ADAPTER.planted(SOURCE, '    assert total != 0, "nothing"', "")
    engine = open_engine("revm")
    checker = Checker(buggy, engine, {})
    with pytest.raises(Exception, match=r"the model reverts \(nothing\); view kinds.sum_of"):
        checker.whole()
    engine.close()


class RelayedMirror(KindsMirror):
    roles = ("owner", "user", "contract")
    relays = ("contract",)


def test_a_role_that_is_a_contract_tells_tx_origin_from_msg_sender() -> None:
    relayed = MirrorAdapter(RelayedMirror)
    result = run_campaign(Plan(relayed, 400, 1))
    assert result.divergence is None, result.divergence.text
    buggy = relayed.planted(SOURCE, "who=msg.sender", "who=tx.origin")
    found = run_campaign(Plan(buggy, 400, 1)).divergence
    assert found is not None
    assert (found.kind, found.steps[-1].actor) == ("events", "contract")


def test_an_adapter_survives_pickling_with_what_it_was_given_compiled() -> None:
    buggy = ADAPTER.planted(SOURCE, 'method_id("Refused', 'method_id("Refusal')
    given = ADAPTER.compiled({"kinds": buggy.interfaces["kinds"].artifact})
    again = pickle.loads(pickle.dumps(given))
    found = run_campaign(Plan(again, 300, 1)).divergence
    assert found is not None
    assert found.kind == "revert reason"


# -- the parts -------------------------------------------------------------------------------------


class Counter(Contract):
    def __init__(self, *, sender: str) -> None:
        self.owner, self.count = sender, 0
        self.by: HashMap[str, int] = HashMap(0)

    def add(self, amount: int, *, sender: str) -> int:
        self.by[sender] += amount
        self.count = uint256(self.count + amount)
        require(amount < 10, "too many")
        return self.count


def test_a_model_runs_by_itself_and_a_revert_leaves_no_trace() -> None:
    chain = Chain()
    counter = chain.deploy(Counter, sender="0x1")
    assert chain.execute(counter.add, 3, sender="0x2") == 3
    assert chain.has_changed()
    with pytest.raises(Revert, match="too many"):
        chain.execute(counter.add, 10, sender="0x3")
    assert (counter.count, dict(counter.by)) == (3, {"0x2": 3, "0x3": 0})
    assert chain.probe(counter.add, 4, sender="0x2") == 7
    assert (counter.count, counter.by["0x2"], counter.owner) == (3, 3, "0x1")
    with pytest.raises(TypeError, match="read and written by"):
        counter.by.pop("0x2")


@pytest.mark.parametrize(("checked", "value"), [(uint256, -1), (uint256, 2**256), (int256, 2**255)])
def test_numbers_out_of_range_revert_without_reason(checked: Any, value: int) -> None:
    with pytest.raises(Revert) as failure:
        checked(value)
    assert failure.value.reason == ""


def test_edges_are_found_from_far_away() -> None:
    rng = random.Random(1)
    found = {nearest_edge(rng, lambda x: x <= 10**30, 5, 0, 2**256 - 1) for _ in range(50)}
    assert found == {10**30 - 1, 10**30, 10**30 + 1, 10**30 + 2}
    assert nearest_edge(rng, lambda x: x >= 0, 5, 0, 2**256 - 1) is None


def test_touched_words_gather_until_they_are_asked_for() -> None:
    engine = open_engine("revm")
    twin = ADAPTER.new_twin(engine, {})
    at = twin.now
    for value in (1, 2):
        twin.execute_model(Step("kinds.push", "owner", ((value,), 1, value), at))
    named = {twin.word_name(*word[:2]): word[2] for word in twin.touched_words()}
    assert named["kinds.nested[owner][1]"] == named["kinds.nested[owner][2]"] == 1
    assert named["kinds.signed"] == 2
    assert list(twin.touched_words()) == []
    engine.close()
