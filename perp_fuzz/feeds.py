"""How a price is brought: as signed reports or through an aggregator, sound or with one flaw.

A flaw is a number, so that a step stays a line of numbers and replays alike everywhere.
"""

from collections.abc import Sequence
from typing import Any

from lockstep import abi
from lockstep.engines.base import CHAIN_ID
from perp_fuzz.deployment import ADDRESSES, ATTACKER, FEED_DECIMALS, PUBLISHERS, System
from perp_fuzz.signing import Signer, by_address
from python_model.modules.constants import MAX_PRICE
from python_model.signed_price_feed import Header, Report, SignedPriceFeed

SOUND = 0

# Of signed reports
REPORT_FLAWS = (
    "sound",
    "a signer who is no publisher",
    "out of order",
    "one signer twice",
    "too few",
    "more than eight",
    "for another chain",
    "of another feed",
    "in other decimals",
    "signed for another chain",
    "signed for another contract",
    "a price of zero",
    "a negative price",
    "a price above the range",
    "a confidence of zero",
    "a confidence above the price",
    "four of them",
    "five of them",
    "signed at another time",
    "no signature",
)
LARGER_BATCHES = (REPORT_FLAWS.index("four of them"), REPORT_FLAWS.index("five of them"))
# Of an aggregator's answer
ROUND_FLAWS = (
    "sound",
    "it reverts",
    "cut short",
    "of an earlier round",
    "round zero",
    "never updated",
    "in other decimals",
    "an answer of zero",
    "a negative answer",
    "an answer above the range",
    "empty",
    "a round id too long",
    "in too many decimals",
)
PUBLISH = abi.selector(
    "publish((uint256,bytes32,uint256,uint256),(int256,uint256,uint256,uint256)[])"
)
BRING = abi.selector("bring(address,bytes,uint256,bool,address)")
ANSWER = abi.selector("answer(bytes,uint256,bool)")
WORD = 2**256
FIRST_ROUND = 2**64


class Reports:
    """Batches of signed reports for the feed of one deployment."""

    def __init__(self, system: System) -> None:
        assert isinstance(system.feed, SignedPriceFeed)
        self.system = system
        self.feed = system.feed
        self.signer = Signer(system.chain, self.feed.address, self.feed.FEED_ID, FEED_DECIMALS)
        self.stranger = Signer(
            system.chain, system.market.address, self.feed.FEED_ID, FEED_DECIMALS
        )
        self._last: tuple[tuple[int, ...], tuple[Header, list[Report]]] | None = None

    def calldata(self, *numbers: int) -> tuple[str, bytes]:
        """Target and calldata."""
        header, reports = self._batch(*numbers)
        head = abi.words(*header, 160, len(reports))
        return self.feed.address, PUBLISH + head + b"".join(abi.words(*r) for r in reports)

    def call_model(self, sender: str, *numbers: int) -> Any:
        """The same call on the model."""
        return self.feed.publish(*self._batch(*numbers), sender=sender)

    def _batch(self, *numbers: int) -> tuple[Header, list[Report]]:
        # The two sides of one step ask for the same batch, one after the other.
        if self._last is None or self._last[0] != numbers:
            self._last = numbers, self._signed(*numbers)
        return self._last[1]

    def _signed(
        self, price: int, confidence: int, price_time: int, flaw: int
    ) -> tuple[Header, list[Report]]:
        signer, name = self.signer, _named(REPORT_FLAWS, flaw)
        sign_as = {"four of them": 4, "five of them": 5, "too few": 2}.get(name, 3)
        listed = [role for role in PUBLISHERS if ADDRESSES[role] in self.feed.publishers()]
        # As many as there are: where the set is small they are too few.
        roles = list(by_address(*listed[:sign_as])) or list(PUBLISHERS[:sign_as])
        header = signer.header(price_time)
        spread = confidence >> 1
        middle = len(roles) // 2
        quotes = [
            (price + (i - middle) * spread // 2, confidence + i - middle) for i in range(len(roles))
        ]
        # In any order: a batch is sorted by signer, and the median has to be found.
        turn = price_time % len(roles)
        quotes = quotes[turn:] + quotes[:turn]
        if price & 1:
            quotes.reverse()
        bad = {
            "a price of zero": (0, confidence),
            "a negative price": (-price, confidence),
            "a price above the range": (MAX_PRICE + 1, confidence),
            "a confidence of zero": (price, 0),
            "a confidence above the price": (price, price + 1),
        }
        quotes[middle] = bad.get(name, quotes[middle])
        if name == "a signer who is no publisher":
            roles[-1] = ATTACKER
        if name == "signed at another time":
            header = header._replace(price_time=price_time - 1)
        if name == "signed for another chain":
            header = header._replace(chain_id=CHAIN_ID + 1)
        if name == "signed for another contract":
            signer = self.stranger
        if name == "sound" or sign_as > 3:
            # The signers' order says nothing of that of their prices and confidences.
            prices = _mixed([quote for quote, _ in quotes], price_time)
            quotes = list(zip(prices, _mixed([c for _, c in quotes], price), strict=True))
        reports = [
            signer.report(role, header, max(quote, -(2**255)), max(about, 0))
            for role, (quote, about) in zip(roles, quotes, strict=True)
        ]
        header = header._replace(price_time=price_time, chain_id=CHAIN_ID)
        if name == "out of order":
            reports.reverse()
        elif name == "one signer twice":
            reports[-1] = reports[-2] if len(reports) > 1 else reports[-1]
        elif name == "more than eight":
            reports = (reports * 9)[:9]
        elif name == "for another chain":
            header = header._replace(chain_id=CHAIN_ID + 1)
        elif name == "of another feed":
            header = header._replace(feed_id=bytes(32))
        elif name == "in other decimals":
            header = header._replace(decimals=FEED_DECIMALS - 1)
        elif name == "no signature":
            reports[0] = reports[0]._replace(r=0, vs=0)
        return header, reports


class Rounds:
    """Answers of the aggregator of one deployment; brought to the market or only set."""

    def __init__(self, system: System, is_brought: bool = False) -> None:
        self.system = system
        self.relay = system.relay
        self.is_brought = is_brought
        self._market_word = abi.word(system.market.address)

    def calldata(self, *numbers: int) -> tuple[str, bytes]:
        """Target and calldata."""
        answer = self._answer(*numbers)
        if self.is_brought:
            recipient = ADDRESSES[self._recipient(numbers)]
            head = self._market_word + abi.words(160, *answer[1:], recipient)
            return self.relay.address, BRING + head + _tail(answer[0])
        return self.relay.address, ANSWER + abi.words(96, *answer[1:]) + _tail(answer[0])

    def call_model(self, sender: str, *numbers: int) -> Any:
        """The same call on the model."""
        answer = self._answer(*numbers)
        if self.is_brought:
            recipient = ADDRESSES[self._recipient(numbers)]
            return self.relay.bring(self.system.market, *answer, recipient, sender=sender)
        return self.relay.answer(*answer, sender=sender)

    @staticmethod
    def _recipient(numbers: tuple[int, ...]) -> str:
        """Whoever brings the price; a number of the price tells who that is."""
        return PUBLISHERS[numbers[0] % len(PUBLISHERS)]

    @staticmethod
    def _answer(
        price: int, _confidence: int, price_time: int, flaw: int
    ) -> tuple[bytes, int, bool]:
        # No two of the numbers alike; now and then the answer of a later round.
        round_id = FIRST_ROUND + price_time
        answer, answered_in, updated_at = price, round_id + (price_time % 5 == 0), price_time
        decimals = FEED_DECIMALS
        name = _named(ROUND_FLAWS, flaw)
        if name == "of an earlier round":
            answered_in = round_id - 1
        elif name == "round zero":
            round_id = answered_in = 0
        elif name == "never updated":
            updated_at = 0
        elif name == "in other decimals":
            decimals -= 10
        elif name == "an answer of zero":
            answer = 0
        elif name == "a negative answer":
            answer = -price
        elif name == "an answer above the range":
            answer = MAX_PRICE + 1
        elif name == "a round id too long":
            round_id = answered_in = 2**80
        elif name == "in too many decimals":
            decimals = 255
        numbers = (round_id, answer, updated_at - 1, updated_at, answered_in)
        output = b"".join([(number % WORD).to_bytes(32, "big") for number in numbers])
        if name == "cut short":
            output = output[:-1]
        elif name == "empty":
            output = b""
        return output, decimals, name == "it reverts"


def _mixed(values: Sequence[int], number: int) -> list[int]:
    """In an order that the number names."""
    mixed = list(values)
    for i in range(len(mixed) - 1, 0, -1):
        number, j = divmod(number, i + 1)
        mixed[i], mixed[j] = mixed[j], mixed[i]
    return mixed


def _named(flaws: tuple[str, ...], number: int) -> str:
    """A number past the table is sound: whoever shrinks a step may try any."""
    return flaws[number] if 0 <= number < len(flaws) else flaws[SOUND]


def _tail(data: bytes) -> bytes:
    """Bytes as the ABI has them: length, content, filled up to words."""
    return abi.word(len(data)) + data + bytes(-len(data) % 32)
