"""Mirror of contracts/testing/PriceRelay.vy."""

from typing import TYPE_CHECKING

from python_model.evm import Chain, Contract, external
from python_model.testing.aggregator_mock import AggregatorMock

if TYPE_CHECKING:
    from python_model.perp_market import PerpMarket


class PriceRelay(Contract):
    """Gives an aggregator its next answer and has the market take it, in one transaction."""

    version = "0.1.0"

    def __init__(self, chain: Chain, address: str, aggregator: AggregatorMock) -> None:
        super().__init__(chain, address)
        self.AGGREGATOR = aggregator

    @external
    def bring(
        self,
        market: "PerpMarket",
        output: bytes,
        decimals: int,
        is_failing: bool,
        recipient: str,
        *,
        sender: str,
    ) -> int:
        self._answer(output, decimals, is_failing)
        return market.update_price(recipient, sender=self.address)

    @external
    def answer(self, output: bytes, decimals: int, is_failing: bool, *, sender: str) -> None:
        self._answer(output, decimals, is_failing)

    def _answer(self, output: bytes, decimals: int, is_failing: bool) -> None:
        self.AGGREGATOR.set_round_output(output, sender=self.address)
        self.AGGREGATOR.set_decimals(decimals, sender=self.address)
        self.AGGREGATOR.set_failing(is_failing, False, sender=self.address)
