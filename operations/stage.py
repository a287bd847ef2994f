"""A market of one's own on anvil, and its model, which is told afterwards what happened.

For tests and for measuring. The chain speaks HTTP and mines when it is told to, or at once; the
model is made to follow every call that is in its blocks, and then holds events, outcomes and all
storage words to it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from eth_abi.abi import decode
from eth_account import Account
from eth_keys.datatypes import Signature
from web3 import Web3

from lockstep import abi
from lockstep.adapter import Config
from lockstep.engines.anvil import AnvilEngine
from lockstep.engines.base import EngineError
from lockstep.mirror.codec import canonical, signature
from operations.accounts import LocalSigner
from operations.market import TOTALS, Function, Target, ask, target_at
from operations.rpc import Policy, connect
from perp_fuzz.deployment import (
    ADDRESSES,
    LPS,
    PUBLISHERS,
    QUORUM,
    TRADERS,
    compile_contracts,
    deploy,
)
from perp_fuzz.signing import digest, key_of
from perp_fuzz.words import Words
from python_model.evm import Revert
from python_model.modules.constants import WAD
from python_model.signed_price_feed import Header, Report

PRICE = 10_000 * WAD
COINS = 10**21  # wei for whoever sends transactions of its own
TOKEN = "testing/TokenMock"
ANY = 2**256 - 1
OPEN = Function("open(uint256,uint256,uint256,uint256)", "uint256")
DEPOSIT = Function("deposit(uint256,address)", "uint256")
BATCH = 100  # transactions of one block
CONFIG: Config = {"decimals": 6, "feed": "signed"}


def signer_named(name: str) -> LocalSigner:
    """A key that anyone can work out, of a role that the model does not know."""
    return LocalSigner(Account.from_key(abi.keccak(b"stage " + name.encode())))


def publisher_keys(count: int = QUORUM) -> list[LocalSigner]:
    """Keys that the feed lists."""
    return [LocalSigner(Account.from_key(key_of(role).secret)) for role in PUBLISHERS[:count]]


class Stage:
    """A market with a pool, the lens, and people with tokens. Time goes by from 2020 on."""

    def __init__(self, **changes: Any) -> None:
        self.artifacts = compile_contracts()
        self.engine = AnvilEngine()
        try:
            self._set_up(changes)
        except BaseException:
            self.engine.close()
            raise

    def _set_up(self, changes: Mapping[str, Any]) -> None:
        self.system = deploy(self.engine, {**CONFIG, **changes}, self.artifacts)
        owner = ADDRESSES["owner_0"]
        lens = self.engine.deploy(self.artifacts["MarketLens"].initcode, owner)
        self.address = self.engine.url
        self.web3: Web3 = connect(self.address, Policy(seconds=5.0))
        self.target: Target = target_at(self.web3, self.system.market.address, lens)
        if changes.get("feed") == "aggregator":
            self.target = self.target._replace(test_aggregator=self.system.aggregator.address)
        self._followed = self.block_number()
        self.words = Words(self.system, self.artifacts, TOKEN)
        self._functions = self._known_functions()
        self._encoders = {
            contract.address: abi.register_events(self.artifacts[name].abi)
            for name, contract in self._contracts()
        }

    # The chain

    def rpc(self, method: str, *params: Any) -> Any:
        """A request to the node itself."""
        return self.engine._rpc(method, *params)

    def rpcs(self, method: str, values: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Many requests of one kind, in one message; the results in their order."""
        body = json.dumps(
            [
                {"jsonrpc": "2.0", "id": place, "method": method, "params": params}
                for place, params in enumerate(values)
            ]
        )
        http = self.engine._http
        http.request("POST", "/", body, {"Content-Type": "application/json"})
        answers = json.loads(http.getresponse().read())
        errors = [answer["error"] for answer in answers if "error" in answer]
        if errors:
            raise EngineError(f"anvil: {method}: {errors[0].get('message')}")
        return [answer["result"] for answer in sorted(answers, key=lambda answer: answer["id"])]

    def block_number(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def chain_time(self) -> int:
        """Of the latest block."""
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def hold_mining(self) -> None:
        """From here on only `mine` makes blocks."""
        self.rpc("evm_setAutomine", False)

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.rpc("evm_mine")

    def later(self, seconds: int) -> None:
        """A block so much later."""
        self.rpc("evm_increaseTime", seconds)
        self.mine()

    def fund(self, *signers: LocalSigner) -> None:
        """Native coin for gas."""
        for signer in signers:
            self.rpc("anvil_setBalance", signer.address, hex(COINS))

    def send(self, calls: Sequence[tuple[str, str, bytes]]) -> None:
        """Sender, target and calldata of many transactions, a hundred in a block. They succeed."""
        self.rpc("evm_setAutomine", False)
        plain = {"gas": hex(1_000_000), "gasPrice": "0x0"}
        sent = []
        for first in range(0, len(calls), BATCH):
            fields = [
                {"from": sender, "to": to, "data": "0x" + data.hex()} | plain
                for sender, to, data in calls[first : first + BATCH]
            ]
            sent += self.rpcs("eth_sendTransaction", [(each,) for each in fields])
            self.rpc("evm_mine")
        self.rpc("evm_setAutomine", True)
        for receipt in self.rpcs("eth_getTransactionReceipt", [(each,) for each in sent]):
            if receipt is None or receipt["status"] != "0x1":
                raise RuntimeError(f"set-up failed: {receipt}")

    def deposit(self, tokens: int) -> None:
        """Into the pool, by its providers."""
        pool, amount = self.system.pool.address, tokens * 10**6
        self.send([(ADDRESSES[lp], pool, DEPOSIT(amount, ADDRESSES[lp])) for lp in LPS[:3]])

    def open(self, count: int, side: int = 0, size: int = WAD // 20, margin: int = 20) -> None:
        """Positions of traders in turn; the margin in tokens."""
        market = self.system.market.address
        worst = ANY if side == 0 else 0
        self.send(
            [
                (
                    ADDRESSES[TRADERS[place % 8]],
                    market,
                    # No two alike, so that they fill more than one ring.
                    OPEN(side, size, margin * 10**6 + place * 10**3, worst),
                )
                for place in range(count)
            ]
        )

    def open_positions(self) -> int:
        return int(ask(self.web3, self.target.market, TOTALS)[6])

    def has_backlog(self) -> bool:
        return bool(ask(self.web3, self.target.market, TOTALS)[2])

    # The model

    def follow(self) -> int:
        """Has the model make every call of the blocks since, and compares what came of it; how
        many there were. AssertionError at the first difference."""
        count = 0
        last = self.block_number()
        for number in range(self._followed + 1, last + 1):
            block = self.rpc("eth_getBlockByNumber", hex(number), True)
            for transaction in block["transactions"]:
                count += self._follow(transaction, int(block["timestamp"], 16))
        self._followed = last
        return count

    def compare(self) -> int:
        """Every storage word that the model knows, read from the chain; how many."""
        words = list(self.words.everything())
        found = self.rpcs(
            "eth_getStorageAt", [(address, hex(slot), "latest") for address, slot, _ in words]
        )
        for (address, slot, expected), text in zip(words, found, strict=True):
            assert int(text, 16) == expected, (
                f"{self.words.name(address, slot)}: chain {int(text, 16)}, model {expected}"
            )
        return len(words)

    def close(self) -> None:
        self.engine.close()

    def _contracts(self) -> Iterator[tuple[str, Any]]:
        system = self.system
        yield from (("PerpMarket", system.market), ("LiquidityPool", system.pool))
        yield from (("RiskEngine", system.engine), (type(system.feed).__name__, system.feed))
        yield from ((TOKEN, system.token), ("testing/AggregatorMock", system.aggregator))

    def _known_functions(self) -> dict[tuple[str, bytes], tuple[Any, list[str], str]]:
        """Model, types of arguments and name, by address and selector."""
        known = {}
        for name, contract in self._contracts():
            for item in self.artifacts[name].abi:
                if item["type"] == "function":
                    types = [canonical(field) for field in item["inputs"]]
                    key = (contract.address, abi.selector(signature(item)))
                    known[key] = (contract, types, item["name"])
        return known

    def _follow(self, transaction: dict[str, Any], timestamp: int) -> int:
        to, data = transaction["to"], bytes.fromhex(transaction["input"][2:])
        found = self._functions.get((str(to).lower(), data[:4]))
        if found is None:
            return 0
        contract, types, name = found
        arguments = [_plain(value) for value in decode(types, data[4:])]
        if name == "publish":
            arguments = self._recognised(contract.address, *arguments)
        chain = self.system.chain
        chain.timestamp = timestamp
        receipt = self.rpc("eth_getTransactionReceipt", transaction["hash"])
        is_done, told = True, ""
        try:
            getattr(contract, name)(*arguments, sender=transaction["from"].lower())
        except Revert as revert:
            is_done, told = False, revert.reason
        where = f"{name} in block {int(transaction['blockNumber'], 16)}"
        assert is_done == (receipt["status"] == "0x1"), f"{where}: the model says {told!r}"
        if is_done:
            logs = [_log(log) for log in receipt["logs"]]
            expected = [
                self._encoders[event.address][event.name](event.address, *event.fields)
                for event in chain.events
            ]
            known = self._encoders.keys() - {self.system.token.address}
            assert [log for log in logs if log[0] in known] == [
                log for log in expected if log[0] in known
            ], f"{where}: other events"
        return 1

    def _recognised(self, feed: str, header: Any, reports: Any) -> list[Any]:
        """Header and reports, whose signers the model now knows."""
        made = Header(*header)
        named = [Report(*report) for report in reports]
        for report in named:
            hashed = digest(feed, made, report.price, report.confidence)
            s, v = report.vs & (1 << 255) - 1, report.vs >> 255
            signer = Signature(vrs=(v, report.r, s)).recover_public_key_from_msg_hash(hashed)
            message = (
                *(made.chain_id, feed, made.feed_id, made.decimals),
                *(report.price, report.confidence, made.price_time),
            )
            address = signer.to_address()
            self.system.chain.register_signature(message, report.r, report.vs, address)
        return [made, named]


def _plain(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _log(log: dict[str, Any]) -> tuple[str, tuple[bytes, ...], bytes]:
    topics = tuple(bytes.fromhex(topic[2:]) for topic in log["topics"])
    return log["address"].lower(), topics, bytes.fromhex(log["data"][2:])
