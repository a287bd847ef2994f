"""What a node said of one block, as far as it is about the market: all that the replica needs.

Calls are cut to what reached the system from outside. What a call met outside of the system (the
token, an aggregator) is kept with its answers, and with the calls that came back in from there.
Records are written to the database and read again without a node.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Union

from lockstep.engines.base import Log

Word = tuple[str, int]  # address, slot


class Ask(NamedTuple):
    """A call of the system to a contract outside of it, and the answer."""

    target: str
    data: bytes
    is_ok: bool
    output: bytes
    is_static: bool
    items: tuple["Item", ...]  # calls that came back in


class Entry(NamedTuple):
    """A call to the system from outside of it. `halt` is why it ended otherwise than by returning
    or reverting; `is_starved` that something in it did; logs are those of the system. Without a
    trace (`is_told` false) neither its output nor what it asked is known."""

    sender: str
    target: str
    data: bytes
    value: int
    is_ok: bool
    output: bytes
    halt: str
    is_starved: bool
    logs: tuple[Log, ...]
    asks: tuple[Ask, ...]
    is_told: bool = True


class Attempt(NamedTuple):
    """Calls of a contract outside that reverted afterwards: they left nothing behind."""

    items: tuple["Item", ...]


Item = Union[Entry, "Attempt"]


class Transaction(NamedTuple):
    """A transaction that reached the system."""

    hash: str
    items: tuple[Item, ...]


class Block(NamedTuple):
    """`words` are those of the system that the block changed, with their new values; `solvency` is
    what the market answers at the end of it, and `balances` what the token says that market and
    pool hold; the last two are there from the block on in which the market is created."""

    number: int
    hash: str
    parent: str
    timestamp: int
    transactions: tuple[Transaction, ...] = ()
    words: tuple[tuple[Word, int], ...] = ()
    solvency: bytes = b""
    balances: tuple[int, int] = (0, 0)
    is_traced: bool = True  # otherwise its words are those that the model says it has changed


def entries(items: tuple[Item, ...]) -> Iterator[Entry]:
    """The outermost of them, those that left nothing behind included."""
    for item in items:
        if isinstance(item, Entry):
            yield item
        else:
            yield from entries(item.items)


# -- to and from bytes -----------------------------------------------------------------------------


def dump(block: Block) -> bytes:
    """All of a block but what the columns of the database hold anyway."""
    content = [
        [[one.hash, [_item_out(item) for item in one.items]] for one in block.transactions],
        [[address, hex(slot), hex(value)] for (address, slot), value in block.words],
        block.solvency.hex(),
        [hex(amount) for amount in block.balances],
        int(block.is_traced),
    ]
    return zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 1)


def load(number: int, hash_: str, parent: str, timestamp: int, content: bytes) -> Block:
    """The block that `dump` wrote."""
    transactions, words, solvency, balances, is_traced = json.loads(zlib.decompress(content))
    return Block(
        number,
        hash_,
        parent,
        timestamp,
        tuple(Transaction(one, tuple(map(_item_in, items))) for one, items in transactions),
        tuple(((address, int(slot, 16)), int(value, 16)) for address, slot, value in words),
        bytes.fromhex(solvency),
        (int(balances[0], 16), int(balances[1], 16)),
        bool(is_traced),
    )


def _item_out(item: Item) -> list[Any]:
    if isinstance(item, Attempt):
        return [[_item_out(one) for one in item.items]]
    return [
        item.sender,
        item.target,
        item.data.hex(),
        hex(item.value),
        int(item.is_ok),
        item.output.hex(),
        item.halt,
        int(item.is_starved),
        [
            [address, [one.hex() for one in topics], data.hex()]
            for address, topics, data in item.logs
        ],
        [_ask_out(ask) for ask in item.asks],
        int(item.is_told),
    ]


def _ask_out(ask: Ask) -> list[Any]:
    items = [_item_out(item) for item in ask.items]
    answer = [int(ask.is_ok), ask.output.hex(), int(ask.is_static)]
    return [ask.target, ask.data.hex(), *answer, items]


def _item_in(raw: list[Any]) -> Item:
    if len(raw) == 1:
        return Attempt(tuple(map(_item_in, raw[0])))
    sender, target, data, value, is_ok, output, halt, is_starved, logs, asks, is_told = raw
    return Entry(
        sender,
        target,
        bytes.fromhex(data),
        int(value, 16),
        bool(is_ok),
        bytes.fromhex(output),
        halt,
        bool(is_starved),
        tuple(
            (address, tuple(map(bytes.fromhex, topics)), bytes.fromhex(body))
            for address, topics, body in logs
        ),
        tuple(map(_ask_in, asks)),
        bool(is_told),
    )


def _ask_in(raw: list[Any]) -> Ask:
    target, data, is_ok, output, is_static, items = raw
    answer = (bool(is_ok), bytes.fromhex(output), bool(is_static))
    return Ask(target, bytes.fromhex(data), *answer, tuple(map(_item_in, items)))
