"""What is asked of the node, several blocks in one request.

Everything about a block is asked by its hash, so that a reorganisation in the middle cannot mix two
blocks: what the node no longer has raises Gone.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from web3 import Web3
from web3.providers.base import JSONBaseProvider

from lockstep import abi
from lockstep.errors import InputError
from operations.monitor.records import Block, Word
from operations.monitor.traces import Frame, Reader
from operations.rpc import NodeError, Policy, endpoint_name, is_busy, patient

CALLS = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}
WORDS = {"tracer": "prestateTracer", "tracerConfig": {"diffMode": True, "disableCode": True}}
SOLVENCY = "0x" + abi.selector("solvency()").hex()
BALANCE_OF = abi.encoder("balanceOf(address)")
NO_METHOD = -32601
REVERT = 3
WORDS_AT_ONCE = 100
TRIES = 8  # of a batch in which single answers are busy
LOOKS_AGAIN, LOOK_SECONDS = 3, 0.2  # for a block after the one whose views do not agree
GONE = ("not found", "unknown block", "no block", "block does not exist", "not available")


class NotOffered(InputError):
    """The node does not have a method."""


class Gone(Exception):
    """A block that the node had is not there any more."""


class Header(NamedTuple):
    """The little of a block's head that tells where it belongs."""

    number: int
    hash: str
    parent: str
    timestamp: int
    transactions: int


class Addresses(NamedTuple):
    """Of the system, in lower case; `token` is somebody else's."""

    market: str
    pool: str
    engine: str
    feed: str
    configurator: str
    factory: str
    token: str

    @property
    def system(self) -> tuple[str, ...]:
        return self[:6]


class Node:
    """One node and one market."""

    def __init__(
        self,
        web3: Web3,
        at: Addresses,
        policy: Policy | None = None,
        creations: Collection[str] = (),
    ) -> None:
        self._policy = policy or Policy()
        # Without the layers that turn answers into other types: traces are large.
        self.web3 = patient(Web3(web3.provider, middleware=[]), self._policy)
        provider = self.web3.provider
        assert isinstance(provider, JSONBaseProvider)
        self._batch = provider.batch_request_func(self.web3, self.web3.middleware_onion)
        self.at = at
        self._reader = Reader(frozenset(at.system))
        self._creations = creations  # transactions that deployed the system
        self.is_tracing = True
        self.requests = 0

    def head(self) -> int:
        """Number of the newest block."""
        return self.head_and([])[0]

    def chain_id(self) -> int:
        return int(self.ask([("eth_chainId", [])])[0], 16)

    def look_for_traces(self) -> bool:
        """Whether the node offers them; without, blocks are what transactions and receipts say."""
        (head,) = self.headers([self.head()])
        if head is not None:
            try:
                self.ask([("debug_traceBlockByHash", [head.hash, one]) for one in (CALLS, WORDS)])
            except NotOffered:
                self.is_tracing = False
        return self.is_tracing

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        """Heads of the blocks that now have these numbers; None where there is none."""
        return self.head_and(numbers)[1]

    def head_and(self, numbers: Sequence[int]) -> tuple[int, list[Header | None]]:
        """The same, and the number of the newest block, at one moment."""
        questions = [("eth_getBlockByNumber", [hex(n), False]) for n in numbers]
        head, *found = self.ask([("eth_blockNumber", []), *questions])
        return int(head, 16), [_header(one) if one else None for one in found]

    def blocks(self, headers: Sequence[Header]) -> list[Block]:
        """All that the replica needs of these blocks. Gone if one of them is."""
        asked = self._questions if self.is_tracing else self._plain_questions
        made = self._block if self.is_tracing else self._plain_block
        questions = [question for header in headers for question in asked(header.hash)]
        answers = self.ask(questions)
        each = len(questions) // max(len(headers), 1)
        return [
            made(header, answers[each * i : each * i + each]) for i, header in enumerate(headers)
        ]

    def words(self, places: Sequence[Word], block: str) -> dict[Word, int]:
        """Storage at the end of a block, by its hash."""
        at = {"blockHash": block}
        found: dict[Word, int] = {}
        for first in range(0, len(places), WORDS_AT_ONCE):
            some = places[first : first + WORDS_AT_ONCE]
            answers = self.ask(
                [("eth_getStorageAt", [address, hex(slot), at]) for address, slot in some]
            )
            found |= {place: int(word, 16) for place, word in zip(some, answers, strict=True)}
        return found

    def views_again(self, block: Block) -> Block:
        """A block with its views asked for once more. Of its newest block a node that is making the
        next one may answer with the time or the state of that: of an older block it does not."""
        try:
            for _ in range(LOOKS_AGAIN):
                if self.head() > block.number:
                    break
                self._policy.pause(LOOK_SECONDS)
            solvency, *balances = self.ask(list(self._views(block.hash)))
        except (Gone, NodeError):
            return block  # which is as it was told
        return block._replace(solvency=bytes.fromhex(solvency[2:]), balances=_held(balances))

    def _questions(self, block: str) -> Iterable[tuple[str, list[Any]]]:
        yield "debug_traceBlockByHash", [block, CALLS]
        yield "debug_traceBlockByHash", [block, WORDS]
        yield from self._views(block)

    def _plain_questions(self, block: str) -> Iterable[tuple[str, list[Any]]]:
        yield "eth_getBlockByHash", [block, True]
        yield "eth_getBlockReceipts", [block]
        yield from self._views(block)

    def _views(self, block: str) -> Iterable[tuple[str, list[Any]]]:
        at = {"blockHash": block}
        market, pool = self.at.market, self.at.pool
        yield "eth_call", [{"to": market, "data": SOLVENCY}, at]
        for holder in (market, pool):
            yield "eth_call", [{"to": self.at.token, "data": "0x" + BALANCE_OF(holder).hex()}, at]

    def _block(self, header: Header, answers: Sequence[Any]) -> Block:
        calls, words, solvency, *balances = answers
        transactions = []
        for one in calls:
            found = self._reader.transaction(one["txHash"], _result(one, "callTracer"))
            if found is not None:
                transactions.append(found)
        return Block(
            *header[:4],
            tuple(transactions),
            tuple(self._changes(_result(one, "prestateTracer") for one in words).items()),
            bytes.fromhex(solvency[2:]),
            _held(balances),
        )

    def _plain_block(self, header: Header, answers: Sequence[Any]) -> Block:
        """Without traces, and without words: those are asked for once it is known which."""
        block, receipts, solvency, *balances = answers
        if block is None or receipts is None:
            raise Gone(header.hash)
        transactions = []
        for sent, receipt in zip(block["transactions"], receipts, strict=True):
            is_creation = receipt["transactionHash"] in self._creations or sent["to"] is None
            if is_creation and sent["to"] != self.at.factory:
                continue
            found = self._reader.plain(sent, receipt)
            if found is not None:
                transactions.append(found)
        content = tuple(transactions), (), bytes.fromhex(solvency[2:]), _held(balances)
        return Block(*header[:4], *content, is_traced=False)

    def _changes(self, diffs: Iterable[Frame]) -> dict[Word, int]:
        """Words of the system that the transactions of a block have changed, as they are now."""
        changes: dict[Word, int] = {}
        for diff in diffs:
            for address in self.at.system:
                before = diff["pre"].get(address, {}).get("storage", {})
                after = diff["post"].get(address, {}).get("storage", {})
                # What has become zero is named only where it is told what was.
                for slot in before.keys() | after.keys():
                    changes[address, int(slot, 16)] = int(after.get(slot, "0x0"), 16)
        return changes

    def ask(self, questions: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Answers of a batch, in the order of the questions."""
        if not questions:
            return []
        for turn in range(TRIES):
            self.requests += 1
            answers: Any = self._batch(questions)
            if isinstance(answers, dict):
                answers = [answers] * len(questions)
            answers = [_plain(one) for one in answers]
            errors = [one["error"] for one in answers if "error" in one]
            if not errors:
                return [one["result"] for one in answers]
            if any(map(_is_gone, errors)) or not all(map(is_busy, errors)):
                break
            self._policy.note("rate limit")
            self._policy.pause(0.1 * 2**turn)
        found = [
            (question[0], one["error"])
            for question, one in zip(questions, answers, strict=True)
            if "error" in one
        ]
        # The worst first: a block that is gone explains whatever else failed.
        raise self._failed(*min(found, key=lambda failed: not _is_gone(failed[1])))

    def _failed(self, method: str, error: Any) -> Exception:
        text = str(error.get("message", error))
        if _is_gone(error):
            return Gone(text)
        if error.get("code") == NO_METHOD or "method" in text.lower():
            remedy = "with its debug methods open" if method.startswith("debug_") else "that has it"
            return NotOffered(
                f"{endpoint_name(self.web3)}: {method} is not offered ({text}): use a node {remedy}"
            )
        return NodeError(f"{endpoint_name(self.web3)}: {method}: {text}")


def _is_gone(error: Any) -> bool:
    text = str(error.get("message", error)).lower()
    return any(part in text for part in GONE) and "method" not in text


def _held(balances: Sequence[str]) -> tuple[int, int]:
    """By market and pool; zero from a token that does not answer."""
    market, pool = (int(answer, 16) if len(answer) > 2 else 0 for answer in balances)
    return market, pool


def _plain(answer: Any) -> Any:
    """A view that reverts answers nothing."""
    is_revert = answer.get("error", {}).get("code") == REVERT
    return {"result": "0x"} if is_revert else answer


def _result(one: Frame, tracer: str) -> Any:
    if "result" not in one:
        raise NodeError(f"{tracer}: transaction {one.get('txHash')}: {one.get('error')}")
    return one["result"]


def _header(raw: Any) -> Header:
    return Header(
        int(raw["number"], 16),
        raw["hash"],
        raw["parentHash"],
        int(raw["timestamp"], 16),
        len(raw["transactions"]),
    )
