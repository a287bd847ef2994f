"""Mirror of contracts/testing/AggregatorMock.vy."""

from python_model.evm import Chain, Contract, Revert, external


class AggregatorMock(Contract):
    """Chainlink-style aggregator for tests; it can be made to fail or to answer with garbage."""

    def __init__(self, chain: Chain, address: str, decimals: int) -> None:
        super().__init__(chain, address)
        self.round_output = b""
        self.decimals_output = _word(decimals)
        self.is_round_failing = False
        self.is_decimals_failing = False

    @external
    def set_round(
        self,
        round_id: int,
        answer: int,
        started_at: int,
        updated_at: int,
        answered_in_round: int,
        *,
        sender: str,
    ) -> None:
        numbers = (round_id, answer, started_at, updated_at, answered_in_round)
        self.round_output = b"".join(_word(number) for number in numbers)

    @external
    def set_round_output(self, output: bytes, *, sender: str) -> None:
        self.round_output = output

    @external
    def set_decimals(self, decimals: int, *, sender: str) -> None:
        self.decimals_output = _word(decimals)

    @external
    def set_decimals_output(self, output: bytes, *, sender: str) -> None:
        self.decimals_output = output

    @external
    def set_failing(
        self, is_round_failing: bool, is_decimals_failing: bool, *, sender: str
    ) -> None:
        self.is_round_failing = is_round_failing
        self.is_decimals_failing = is_decimals_failing

    def latestRoundData(self) -> bytes:
        if self.is_round_failing:
            raise Revert
        return self.round_output

    def decimals(self) -> bytes:
        if self.is_decimals_failing:
            raise Revert
        return self.decimals_output


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big", signed=number < 0)
