"""SignedPriceFeed: what makes a price, and every way in which a batch is refused."""

import random
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from feed_forms import ADDRESSES, WAD, FeedForms, StubMarket, artifact

from lockstep import abi
from lockstep.engines import EngineError, open_engine, pyevm
from lockstep.engines.base import CHAIN_ID
from lockstep.engines.revm import RevmEngine
from perp_fuzz.signing import Signer, address_of, by_address, digest, key_of
from python_model.evm import ZERO_ADDRESS, Revert
from python_model.modules import errors
from python_model.modules.constants import MAX_PRICE
from python_model.signed_price_feed import Header, Report, SignedPriceFeed

FEED_ID = b"BTC/USD".ljust(32, b"\0")
OTHER_FEED_ID = b"ETH/USD".ljust(32, b"\0")
UNIT = 10**8
PRICE, CONFIDENCE = 60_000 * UNIT, 30 * UNIT
MAX_DELAY = 60
PUBLISHERS = by_address(*(f"publisher_{i}" for i in range(8)))
STRANGERS = by_address("stranger_0", "stranger_1")
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141


class SignedForms(FeedForms):
    """A signed feed, bound to its market."""

    def __init__(
        self,
        publishers: Sequence[str] = PUBLISHERS[:5],
        quorum: int = 3,
        decimals: int = 8,
        feed_id: bytes = FEED_ID,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.roles = publishers
        self.market = self.deploy("StubMarket", StubMarket)
        self.feed = self.another(quorum, decimals, feed_id)
        self.does("factory", self.feed, "set_market", self.market)
        self.signer = Signer(self.chain, self.feed.address, feed_id, decimals)

    def another(self, quorum: int = 3, decimals: int = 8, feed_id: bytes = FEED_ID) -> Any:
        """A feed of the same publishers without a market."""
        addresses = [address_of(role) for role in self.roles]
        return self.deploy(
            "SignedPriceFeed",
            SignedPriceFeed,
            ADDRESSES["factory"],
            ADDRESSES["configurator"],
            feed_id,
            decimals,
            addresses,
            quorum,
        )

    def batch(
        self,
        roles: Sequence[str] | None = None,
        prices: Sequence[int] = (),
        confidences: Sequence[int] = (),
        price_time: int | None = None,
        **header: int,
    ) -> tuple[Header, list[Report]]:
        """Reports of these roles, the first three publishers unless said otherwise, in order."""
        roles = self.roles[:3] if roles is None else roles
        time = self.now if price_time is None else price_time
        common = self.signer.header(time)._replace(**header)
        reports = [
            self.signer.report(
                role,
                common,
                prices[i] if i < len(prices) else PRICE,
                confidences[i] if i < len(confidences) else CONFIDENCE,
            )
            for i, role in enumerate(roles)
        ]
        return common, reports

    def publish(self, *batch: Any) -> int:
        """A batch brought by a keeper a second later."""
        self.set_time(self.now + 1)
        settled: int = self.does("keeper", self.feed, "publish", *(batch or self.batch()))
        return settled

    def publish_refuses(self, reason: str, header: Header, reports: Sequence[Report]) -> None:
        """The batch is refused and the market has noticed nothing."""
        settled = self.view(self.market, "settled")
        self.refuses(reason, "keeper", self.feed, "publish", header, reports)
        assert self.view(self.market, "settled") == settled

    def state(self, contract: Any) -> dict[str, Any]:
        """Also the packed word."""
        if isinstance(contract, SignedPriceFeed):
            price, confidence, price_time = contract.latest_price()
            word = price | confidence << 88 | price_time << 176 | contract._records << 224
            slot = artifact("SignedPriceFeed").slot("_latest")
            assert self.engine.storage(contract.address, slot) == word
        return super().state(contract)


@pytest.fixture
def forms() -> Iterator[SignedForms]:
    """Five publishers, three of which make a price."""
    made = SignedForms()
    yield made
    made.engine.close()


def wad(price: int) -> int:
    return price * (WAD // UNIT)


# What makes a price


def test_no_price_before_the_first(forms: SignedForms) -> None:
    assert forms.view(forms.feed, "latest_price") == (0, 0, 0)
    assert forms.view(forms.feed, "market") is forms.market
    assert forms.view(forms.feed, "quorum") == 3
    assert forms.view(forms.feed, "publishers") == tuple(map(address_of, forms.roles))


def test_a_quorum_makes_a_price_and_settles_the_market(forms: SignedForms) -> None:
    prices, confidences = (PRICE + 7, PRICE - 5, PRICE), (9, 30, 20)
    batch = forms.batch(prices=prices, confidences=confidences)
    assert forms.publish(*batch) == 1
    expected = (wad(PRICE), wad(20), batch[0].price_time)
    assert forms.view(forms.feed, "latest_price") == expected
    names = [event.name for event in forms.chain.events]
    assert names == ["PricePublished", "Settled"]
    # The keeper is named to the market, whatever he brings is already the feed's price.
    assert forms.chain.events[1].fields == (ADDRESSES["keeper"], *expected)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_median_of_any_number_is_the_price(count: int) -> None:
    forms = SignedForms(PUBLISHERS, quorum=1)
    draw = random.Random(count)
    for _ in range(30):
        prices = [draw.randint(1, 50) for _ in range(count)]
        confidences = [draw.randint(1, price) for price in prices]
        roles = sorted(draw.sample(PUBLISHERS, count), key=address_of)
        forms.publish(*forms.batch(roles, prices, confidences))
        middle = [
            (sorted(numbers)[(count - 1) // 2] + sorted(numbers)[count // 2]) // 2
            for numbers in (prices, confidences)
        ]
        price, confidence, _ = forms.view(forms.feed, "latest_price")
        assert [price, confidence] == [wad(number) for number in middle]
    forms.engine.close()


@pytest.mark.parametrize("decimals", [0, 6, 8, 17, 18])
def test_prices_up_to_the_bound_are_taken_at_any_decimals(decimals: int) -> None:
    forms = SignedForms(decimals=decimals)
    scale = 10 ** (18 - decimals)
    greatest = MAX_PRICE // scale
    forms.publish(*forms.batch(prices=[greatest] * 3, confidences=[greatest] * 3))
    taken = greatest * scale
    assert forms.view(forms.feed, "latest_price")[:2] == (taken, taken)
    forms.publish(*forms.batch(prices=[1] * 3, confidences=[1] * 3))
    assert forms.view(forms.feed, "latest_price")[:2] == (scale, scale)
    batch = forms.batch(prices=[1, greatest + 1, 1], confidences=[1] * 3, price_time=forms.now + 1)
    forms.set_time(forms.now + 1)
    forms.publish_refuses(errors.PRICE_TOO_LARGE, *batch)
    forms.engine.close()


def test_a_minority_cannot_leave_the_range_of_the_others(forms: SignedForms) -> None:
    for lie in (1, MAX_PRICE // 10**10):
        for liar in range(3):
            prices = [PRICE - 1, PRICE + 1, PRICE]
            prices[liar] = lie
            forms.publish(*forms.batch(prices=prices, confidences=[1] * 3))
            price, _, _ = forms.view(forms.feed, "latest_price")
            assert wad(PRICE - 1) <= price <= wad(PRICE + 1)


def test_a_contract_that_brings_a_price_is_rewarded_itself(forms: SignedForms) -> None:
    batch = forms.batch()
    keeper = forms.deploy("StubMarket", StubMarket)
    data = forms.calldata(forms.feed, "publish", *batch)
    call = abi.selector("forward(address,bytes)") + abi.arguments(
        ["address", "bytes"], [forms.feed.address, data]
    )
    got = forms.engine.call(ADDRESSES["keeper"], keeper.address, call)
    assert got.ok
    forms.feed.publish(*batch, sender=keeper.address)
    assert got.logs == [forms.log_of(event) for event in forms.chain.events]
    assert forms.chain.events[1].fields[0] == keeper.address


def test_a_market_that_refuses_undoes_the_price(forms: SignedForms) -> None:
    forms.does("keeper", forms.market, "set_refusing", True)
    forms.publish_refuses("the market refuses", *forms.batch())
    forms.does("keeper", forms.market, "set_refusing", False)
    forms.publish(*forms.batch())


# Signatures


def typed_data(contract: str, header: Header, price: int, confidence: int) -> dict[str, Any]:
    fields = {
        "feedId": "bytes32",
        "decimals": "uint8",
        "price": "int256",
        "confidence": "uint256",
        "publishTime": "uint256",
    }
    domain = {
        "name": "string",
        "version": "string",
        "chainId": "uint256",
        "verifyingContract": "address",
    }
    numbers = (header.feed_id, header.decimals, price, confidence, header.price_time)
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in domain.items()],
            "PriceReport": [{"name": name, "type": kind} for name, kind in fields.items()],
        },
        "primaryType": "PriceReport",
        "domain": {
            "name": "Ringfence",
            "version": "1",
            "chainId": header.chain_id,
            "verifyingContract": contract,
        },
        "message": dict(zip(fields, numbers, strict=True)),
    }


@pytest.mark.parametrize(
    ("price", "confidence"), [(PRICE, CONFIDENCE), (-1, 0), (2**255 - 1, 2**256 - 1)]
)
def test_what_is_signed_is_what_a_wallet_would_sign(price: int, confidence: int) -> None:
    contract = "0x" + "5e" * 20
    header = Header(CHAIN_ID, FEED_ID, 8, 1_600_000_000)
    message = encode_typed_data(full_message=typed_data(contract, header, price, confidence))
    signed = Account.sign_message(message, key_of("publisher_0").secret)
    assert bytes(signed.message_hash) == digest(contract, header, price, confidence)


def test_reports_of_a_wallet_are_accepted(forms: SignedForms) -> None:
    header, reports = forms.batch()
    by_wallet = []
    for role, report in zip(forms.roles, reports, strict=False):
        data = typed_data(forms.feed.address, header, report.price, report.confidence)
        signed = Account.sign_message(encode_typed_data(full_message=data), key_of(role).secret)
        r, vs = signed.r, signed.s | (signed.v - 27) << 255
        content = (*header[1:3], report.price, report.confidence, header.price_time)
        message = (header.chain_id, forms.feed.address, *content)
        forms.chain.register_signature(message, r, vs, address_of(role))
        by_wallet.append(report._replace(r=r, vs=vs))
    forms.publish(header, by_wallet)


def test_a_wallet_knows_whose_report_it_is(forms: SignedForms) -> None:
    header, reports = forms.batch()
    for role, report in zip(forms.roles, reports, strict=False):
        data = typed_data(forms.feed.address, header, report.price, report.confidence)
        parts = (27 + (report.vs >> 255), report.r, report.vs & 2**255 - 1)
        signer = Account.recover_message(encode_typed_data(full_message=data), vrs=parts)
        assert signer.lower() == address_of(role)


def test_the_domain_can_be_asked_for(forms: SignedForms) -> None:
    got = forms.engine.view(forms.feed.address, abi.selector("eip712Domain()"))
    assert got.ok
    assert b"Ringfence" in got.output
    assert abi.word(CHAIN_ID) in got.output
    assert abi.word(forms.feed.address) in got.output


def test_a_strangers_report_is_refused(forms: SignedForms) -> None:
    for place in range(3):
        for stranger in STRANGERS:
            roles = [*forms.roles[:place], stranger, *forms.roles[place:2]]
            forms.publish_refuses(errors.NOT_PUBLISHER, *forms.batch(roles))
    # Not listed here, though a publisher elsewhere.
    forms.publish_refuses(errors.NOT_PUBLISHER, *forms.batch([*forms.roles[:2], PUBLISHERS[6]]))


@pytest.mark.parametrize(
    ("r", "vs"), [(0, 0), (1, 0), (0, 1), (ORDER, 1), (2**256 - 1, 2**256 - 1), (2, ORDER >> 1)]
)
def test_what_is_no_signature_is_refused(forms: SignedForms, r: int, vs: int) -> None:
    header, reports = forms.batch()
    for place in range(3):
        changed = list(reports)
        changed[place] = reports[place]._replace(r=r, vs=vs)
        forms.publish_refuses(errors.NOT_PUBLISHER, header, changed)


def test_every_word_of_a_report_is_signed(forms: SignedForms) -> None:
    header, reports = forms.batch()
    report = reports[1]
    for changed in (
        report._replace(price=report.price + 1),
        report._replace(confidence=report.confidence + 1),
        report._replace(vs=report.vs ^ 1 << 255),
        report._replace(vs=report.vs ^ 1),
        report._replace(r=report.r ^ 1),
        report._replace(r=reports[0].r, vs=reports[0].vs, price=report.price + 1),
    ):
        batch = [reports[0], changed, reports[2]]
        forms.publish_refuses(errors.NOT_PUBLISHER, header, batch)
    for other in (header.price_time - 1, header.price_time + 1):
        forms.set_time(max(forms.now, other))
        moved = header._replace(price_time=other)
        forms.publish_refuses(errors.NOT_PUBLISHER, moved, reports)


def test_signers_ascend(forms: SignedForms) -> None:
    first, second, third = forms.roles[:3]
    for roles in ([second, first, third], [first, third, second], [third, second, first]):
        forms.publish_refuses(errors.UNORDERED_SIGNERS, *forms.batch(roles))
    forms.publish_refuses(errors.UNORDERED_SIGNERS, *forms.batch([first, second, first]))


def test_no_signer_counts_twice(forms: SignedForms) -> None:
    first, second, third = forms.roles[:3]
    for roles in ([first, first, second], [first, second, second], [first, second, third, third]):
        forms.publish_refuses(errors.DUPLICATE_SIGNER, *forms.batch(roles))
    # Nor with two different reports.
    batch = forms.batch([first, first, second], prices=[PRICE, PRICE + 1, PRICE])
    forms.publish_refuses(errors.DUPLICATE_SIGNER, *batch)


# Length, chain, feed, decimals


def test_fewer_reports_than_the_quorum_are_refused(forms: SignedForms) -> None:
    for count in range(3):
        forms.publish_refuses(errors.TOO_FEW_REPORTS, *forms.batch(forms.roles[:count]))


def test_more_reports_than_publishers_can_be_are_refused() -> None:
    forms = SignedForms(PUBLISHERS)
    header, reports = forms.batch(PUBLISHERS)
    for count in range(9, 17):
        many = [*reports, *reports][:count]
        forms.publish_refuses(errors.TOO_MANY_REPORTS, header, many)
    # A longer batch is no argument of the function at all.
    data = forms.calldata(forms.feed, "publish", header, [*reports, *reports, reports[0]])
    got = forms.engine.call(ADDRESSES["keeper"], forms.feed.address, data)
    assert not got.ok
    assert got.output == b""
    forms.publish(*forms.batch(PUBLISHERS))
    forms.engine.close()


def test_truncated_calldata_is_refused(forms: SignedForms) -> None:
    data = forms.calldata(forms.feed, "publish", *forms.batch())
    before = forms.state(forms.feed)
    for cut in (1, 32, 128, len(data) - 4):
        got = forms.engine.call(ADDRESSES["keeper"], forms.feed.address, data[:-cut])
        assert not got.ok
    assert forms.state(forms.feed) == before


def test_reports_for_another_chain_are_refused(forms: SignedForms) -> None:
    for chain_id in (0, 1, CHAIN_ID + 1, 2**256 - 1):
        forms.publish_refuses(errors.WRONG_CHAIN, *forms.batch(chain_id=chain_id))
        header, _ = forms.batch()
        _, foreign = forms.batch(chain_id=chain_id)
        forms.publish_refuses(errors.NOT_PUBLISHER, header, foreign)


def test_reports_for_another_feed_are_refused(forms: SignedForms) -> None:
    header, _ = forms.batch()
    for feed_id in (OTHER_FEED_ID, bytes(32), b"\xff" * 32):
        other, foreign = forms.batch(feed_id=feed_id)
        forms.publish_refuses(errors.WRONG_FEED, other, foreign)
        forms.publish_refuses(errors.NOT_PUBLISHER, header, foreign)


def test_reports_with_other_or_mixed_decimals_are_refused(forms: SignedForms) -> None:
    header, reports = forms.batch()
    for decimals in (0, 7, 18):
        other, foreign = forms.batch(decimals=decimals)
        forms.publish_refuses(errors.WRONG_DECIMALS, other, foreign)
        mixed = [reports[0], foreign[1], reports[2]]
        forms.publish_refuses(errors.NOT_PUBLISHER, header, mixed)
    forms.publish_refuses(errors.WRONG_DECIMALS, header._replace(decimals=8 + 2**8), reports)


# Time


def test_a_price_may_not_come_from_the_future(forms: SignedForms) -> None:
    for late in (forms.now + 1, 2**48, 2**256 - 1):
        forms.publish_refuses(errors.FUTURE_PRICE, *forms.batch(price_time=late))
    forms.does("keeper", forms.feed, "publish", *forms.batch(price_time=forms.now))


def test_a_price_must_be_newer_than_the_last(forms: SignedForms) -> None:
    forms.publish(*forms.batch())
    last = forms.view(forms.feed, "latest_price")[2]
    for old in (last, last - 1, 1, 0):
        forms.publish_refuses(errors.OLD_PRICE, *forms.batch(price_time=old))
    forms.publish(*forms.batch(price_time=last + 1))


def test_a_price_older_than_the_delay_is_refused(forms: SignedForms) -> None:
    old = forms.now - MAX_DELAY
    forms.publish_refuses(errors.STALE_PRICE, *forms.batch(price_time=old - 1))
    forms.does("keeper", forms.feed, "publish", *forms.batch(price_time=old))


# Numbers


@pytest.mark.parametrize(
    ("reason", "price", "confidence"),
    [
        (errors.ZERO_PRICE, 0, 0),
        (errors.ZERO_PRICE, 0, 1),
        (errors.NEGATIVE_PRICE, -1, 1),
        (errors.NEGATIVE_PRICE, -PRICE, CONFIDENCE),
        (errors.NEGATIVE_PRICE, -(2**255), 2**256 - 1),
        (errors.PRICE_TOO_LARGE, MAX_PRICE // 10**10 + 1, 1),
        (errors.PRICE_TOO_LARGE, 2**255 - 1, 0),
        (errors.ZERO_CONFIDENCE, PRICE, 0),
        (errors.CONFIDENCE_TOO_LARGE, PRICE, PRICE + 1),
        (errors.CONFIDENCE_TOO_LARGE, 1, 2**256 - 1),
    ],
)
def test_a_single_bad_number_refuses_the_batch(
    forms: SignedForms, reason: str, price: int, confidence: int
) -> None:
    for place in range(3):
        prices, confidences = [PRICE] * 3, [CONFIDENCE] * 3
        prices[place], confidences[place] = price, confidence
        forms.publish_refuses(reason, *forms.batch(prices=prices, confidences=confidences))
    prices, confidences = [PRICE] * 3, [PRICE] * 3
    forms.publish(*forms.batch(prices=prices, confidences=confidences))


# Replay


def test_a_batch_counts_once(forms: SignedForms) -> None:
    batch = forms.batch()
    forms.publish(*batch)
    for _ in range(3):
        forms.publish_refuses(errors.OLD_PRICE, *batch)
        forms.set_time(forms.now + 10)


def test_reports_of_two_times_do_not_mix(forms: SignedForms) -> None:
    earlier, old = forms.batch(price_time=forms.now - 5)
    header, new = forms.batch()
    forms.publish_refuses(errors.NOT_PUBLISHER, header, [new[0], old[1], new[2]])
    forms.publish_refuses(errors.NOT_PUBLISHER, earlier, [old[0], new[1], old[2]])


def test_a_batch_for_one_contract_is_refused_by_another(forms: SignedForms) -> None:
    twin = forms.another()
    forms.does("factory", twin, "set_market", forms.market)
    batch = forms.batch()
    forms.refuses(errors.NOT_PUBLISHER, "keeper", twin, "publish", *batch)
    forms.publish(*batch)
    forms.refuses(errors.NOT_PUBLISHER, "keeper", twin, "publish", *batch)


def test_a_batch_for_one_feed_is_refused_by_another(forms: SignedForms) -> None:
    twin = forms.another(feed_id=OTHER_FEED_ID)
    forms.does("factory", twin, "set_market", forms.market)
    header, reports = forms.batch()
    forms.refuses(errors.WRONG_FEED, "keeper", twin, "publish", header, reports)
    other = header._replace(feed_id=OTHER_FEED_ID)
    forms.refuses(errors.NOT_PUBLISHER, "keeper", twin, "publish", other, reports)


def test_a_batch_for_one_chain_is_refused_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = SignedForms(engine=open_engine("pyevm"))
    forms.publish(*forms.batch())
    old = forms.batch(price_time=forms.now + 1)
    forked = CHAIN_ID + 1
    monkeypatch.setattr(pyevm, "CHAIN_ID", forked)
    forms.chain.chain_id = forked
    forms.set_time(forms.now + 1)
    forms.publish_refuses(errors.WRONG_CHAIN, *old)
    # Claiming to be of this chain does not help: the domain is that of the chain it runs on.
    forms.publish_refuses(errors.NOT_PUBLISHER, old[0]._replace(chain_id=forked), old[1])
    forms.publish(*forms.batch(chain_id=forked))


# Publishers


def addresses(*roles: str) -> list[str]:
    return [address_of(role) for role in by_address(*roles)]


def test_publishers_are_replaced(forms: SignedForms) -> None:
    old = forms.batch()
    chosen = addresses(*PUBLISHERS[3:])
    forms.does("configurator", forms.feed, "set_publishers", chosen, 4)
    assert [event.name for event in forms.chain.events] == ["PublisherListed"] * 5 + [
        "PublishersSet"
    ]
    assert forms.view(forms.feed, "publishers") == tuple(chosen)
    forms.publish_refuses(errors.TOO_FEW_REPORTS, *old)
    forms.publish_refuses(errors.NOT_PUBLISHER, *forms.batch(PUBLISHERS[2:7]))
    forms.publish(*forms.batch(PUBLISHERS[3:7]))


def test_a_removed_publisher_no_longer_counts(forms: SignedForms) -> None:
    removed = forms.roles[0]
    forms.does("configurator", forms.feed, "remove_publisher", address_of(removed))
    assert forms.chain.events[0].fields == (address_of(removed),)
    forms.publish_refuses(errors.NOT_PUBLISHER, *forms.batch())
    forms.publish(*forms.batch(forms.roles[1:4]))
    assert forms.view(forms.feed, "quorum") == 3


def test_the_quorum_can_always_be_reached(forms: SignedForms) -> None:
    for role in forms.roles[:2]:
        forms.does("configurator", forms.feed, "remove_publisher", address_of(role))
    last = address_of(forms.roles[2])
    forms.refuses(errors.BAD_PUBLISHERS, "configurator", forms.feed, "remove_publisher", last)
    forms.publish(*forms.batch(forms.roles[2:]))


BAD_SETS: dict[str, tuple[list[str], int]] = {
    "nobody": ([], 0),
    "nobody, quorum of one": ([], 1),
    "no quorum": (addresses(*PUBLISHERS[:3]), 0),
    "quorum too large": (addresses(*PUBLISHERS[:3]), 4),
    "quorum that overflows its word": (addresses(*PUBLISHERS[:3]), 2**256 - 1),
    "zero address": ([ZERO_ADDRESS, address_of(PUBLISHERS[0])], 1),
    "twice the same": ([address_of(PUBLISHERS[0])] * 2, 1),
    "descending": ([address_of(PUBLISHERS[1]), address_of(PUBLISHERS[0])], 1),
    "zero address last": ([address_of(PUBLISHERS[0]), ZERO_ADDRESS], 1),
}


@pytest.mark.parametrize("case", BAD_SETS)
def test_bad_publishers_are_refused(forms: SignedForms, case: str) -> None:
    publishers, quorum = BAD_SETS[case]
    call = ("set_publishers", publishers, quorum)
    forms.refuses(errors.BAD_PUBLISHERS, "configurator", forms.feed, *call)
    forms.roles = []
    values = (ADDRESSES["factory"], ADDRESSES["configurator"], FEED_ID, 8, publishers, quorum)
    with pytest.raises(EngineError, match=errors.BAD_PUBLISHERS.encode().hex()):
        forms.deploy("SignedPriceFeed", SignedPriceFeed, *values)
    with pytest.raises(Revert, match=f"^{errors.BAD_PUBLISHERS}$"):
        SignedPriceFeed(forms.chain, ZERO_ADDRESS, *values)


def test_more_than_eighteen_decimals_are_refused(forms: SignedForms) -> None:
    publishers = addresses(*PUBLISHERS[:3])
    values = (ADDRESSES["factory"], ADDRESSES["configurator"], FEED_ID, 19, publishers, 3)
    with pytest.raises(EngineError, match=errors.BAD_FEED.encode().hex()):
        forms.deploy("SignedPriceFeed", SignedPriceFeed, *values)
    with pytest.raises(Revert, match=f"^{errors.BAD_FEED}$"):
        SignedPriceFeed(forms.chain, ZERO_ADDRESS, *values)


def test_all_eight_publishers_are_found() -> None:
    forms = SignedForms(PUBLISHERS, quorum=1)
    for role in PUBLISHERS:
        forms.publish(*forms.batch([role]))
    forms.publish(*forms.batch(PUBLISHERS))
    assert forms.view(forms.feed, "publishers") == tuple(map(address_of, PUBLISHERS))
    greatest = "0x" + "ff" * 20
    chosen = [*map(address_of, PUBLISHERS[:7]), greatest]
    forms.does("configurator", forms.feed, "set_publishers", chosen, 1)
    forms.publish_refuses(errors.NOT_PUBLISHER, *forms.batch([PUBLISHERS[7]]))
    forms.publish(*forms.batch(PUBLISHERS[:7]))
    forms.engine.close()


def test_records_are_found_however_many_there_have_been() -> None:
    # The address of a record follows from its number, whose encoding grows at 128 and 256.
    forms = SignedForms(PUBLISHERS[:4], quorum=3, engine=RevmEngine(compact_every=500))
    for number in range(3, 261):
        quorum = 1 + number % 4
        forms.does("configurator", forms.feed, "set_publishers", addresses(*forms.roles), quorum)
        assert forms.feed._records == number
        forms.publish(*forms.batch(forms.roles[:quorum]))
        assert forms.view(forms.feed, "market") is forms.market
    forms.engine.close()


def test_a_record_only_recites_its_words(forms: SignedForms) -> None:
    # The second that the feed has created: RLP of its address and the number two.
    named = b"\xd6\x94" + bytes.fromhex(forms.feed.address[2:]) + b"\x02"
    record = "0x" + abi.keccak(named)[-20:].hex()
    words = [int(address_of(role), 16) for role in forms.roles]
    words += [2**256 - 1] * 3 + [3 << 160 | int(forms.market.address, 16)]
    assert all(low < high for low, high in pairwise(words[:5]))
    assert forms.engine.code(record)[10:] == abi.words(*words)
    for data in (b"", b"\x01" * 36):
        got = forms.engine.call(ADDRESSES["attacker"], record, data)
        assert (got.ok, got.output, got.logs) == (True, abi.words(*words), [])


# Roles


@pytest.mark.parametrize("role", ["attacker", "keeper", "factory"])
def test_only_the_configurator_changes_publishers(forms: SignedForms, role: str) -> None:
    chosen = addresses(*PUBLISHERS[:3])
    reason = errors.NOT_CONFIGURATOR
    forms.refuses(reason, role, forms.feed, "set_publishers", chosen, 3)
    forms.refuses(reason, role, forms.feed, "remove_publisher", chosen[0])


def test_only_a_publisher_can_be_removed(forms: SignedForms) -> None:
    for stranger in (ZERO_ADDRESS, address_of(STRANGERS[0]), "0x" + "ff" * 20):
        call = ("remove_publisher", stranger)
        forms.refuses(errors.NOT_PUBLISHER, "configurator", forms.feed, *call)


def test_the_market_is_set_once_by_the_factory(forms: SignedForms) -> None:
    unbound = forms.another()
    assert forms.view(unbound, "market") is None
    for role in ("attacker", "configurator", "keeper"):
        forms.refuses(errors.NOT_FACTORY, role, unbound, "set_market", forms.market)
    forms.does("factory", unbound, "set_market", forms.market)
    for market in (forms.market, unbound):
        forms.refuses(errors.ALREADY_SET, "factory", unbound, "set_market", market)


def test_without_a_market_nothing_is_published(forms: SignedForms) -> None:
    unbound = forms.another()
    signer = Signer(forms.chain, unbound.address, FEED_ID, 8)
    header = signer.header(forms.now)
    reports = [signer.report(role, header, PRICE, CONFIDENCE) for role in forms.roles[:3]]
    forms.refuses(errors.NO_MARKET, "keeper", unbound, "publish", header, reports)
    forms.does("factory", unbound, "set_market", forms.market)
    forms.does("keeper", unbound, "publish", header, reports)


# Everything at once


REFUSALS = {
    errors.WRONG_CHAIN,
    errors.WRONG_FEED,
    errors.WRONG_DECIMALS,
    errors.FUTURE_PRICE,
    errors.OLD_PRICE,
    errors.STALE_PRICE,
    errors.TOO_FEW_REPORTS,
    errors.TOO_MANY_REPORTS,
    errors.NOT_PUBLISHER,
    errors.UNORDERED_SIGNERS,
    errors.DUPLICATE_SIGNER,
    errors.ZERO_PRICE,
    errors.NEGATIVE_PRICE,
    errors.PRICE_TOO_LARGE,
    errors.ZERO_CONFIDENCE,
    errors.CONFIDENCE_TOO_LARGE,
}


def test_random_batches_have_one_outcome_in_both_forms() -> None:
    forms = SignedForms(PUBLISHERS[:6], quorum=2)
    draw = random.Random(20_200_312)
    bad_prices = (0, -1, MAX_PRICE // 10**10 + 1, -(2**255))
    seen: dict[str | None, int] = {}
    for _ in range(600):
        forms.set_time(forms.now + draw.choice((0, 1, 1, 2, 70)))
        count = draw.choice((1, 2, 3, 3, 4, 5, 6))
        roles = sorted(draw.sample(PUBLISHERS[:6], count), key=address_of)
        prices = [PRICE + draw.randint(-UNIT, UNIT) for _ in roles]
        confidences = [draw.randint(1, UNIT) for _ in roles]
        time, header = forms.now, {}
        for _ in range(draw.choice((0, 0, 0, 1, 1, 2))):
            place = draw.randrange(count)
            match draw.randrange(9):
                case 0:
                    roles[place] = draw.choice((*PUBLISHERS, *STRANGERS))
                case 1:
                    draw.shuffle(roles)
                case 2:
                    prices[place] = draw.choice(bad_prices)
                case 3:
                    confidences[place] = draw.choice((0, prices[place] + 1, 2**256 - 1))
                case 4:
                    time += draw.choice((-61, -60, -1, 1))
                case 5:
                    header["chain_id"] = 1
                case 6:
                    header["decimals"] = 18
                case 7:
                    header["feed_id"] = OTHER_FEED_ID
                case 8:
                    roles = [*roles[:8], *draw.sample(PUBLISHERS, 8)]
        batch = forms.batch(roles, prices, confidences, time, **header)
        reason, _ = forms.call("keeper", forms.feed, "publish", *batch)
        seen[reason] = seen.get(reason, 0) + 1
    assert seen[None] > 100
    assert set(seen) - {None} == REFUSALS
    forms.engine.close()
