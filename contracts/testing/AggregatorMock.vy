# pragma version 0.4.3
"""
@title AggregatorMock
@license AGPL-3.0-only
@notice Chainlink-style aggregator for tests; it can be made to fail or to answer with garbage.
@custom:kill For tests only.
"""

version: public(constant(String[8])) = "0.1.0"

round_output: public(Bytes[256])
decimals_output: public(Bytes[256])
is_round_failing: public(bool)
is_decimals_failing: public(bool)


@deploy
def __init__(decimals: uint256):
    """
    @notice An aggregator without a round.
    """
    self.decimals_output = abi_encode(decimals)


@external
def set_round(
    round_id: uint256,
    answer: int256,
    started_at: uint256,
    updated_at: uint256,
    answered_in_round: uint256,
):
    """
    @notice The round that is answered from now on.
    """
    self.round_output = abi_encode(round_id, answer, started_at, updated_at, answered_in_round)


@external
def set_round_output(output: Bytes[256]):
    """
    @notice Answers `latestRoundData` with any bytes.
    """
    self.round_output = output


@external
def set_decimals(decimals: uint256):
    """
    @notice The decimals that are answered from now on.
    """
    self.decimals_output = abi_encode(decimals)


@external
def set_decimals_output(output: Bytes[256]):
    """
    @notice Answers `decimals` with any bytes.
    """
    self.decimals_output = output


@external
def set_failing(is_round_failing: bool, is_decimals_failing: bool):
    """
    @notice Which of the two calls revert, with what they would have returned as the reason.
    """
    self.is_round_failing = is_round_failing
    self.is_decimals_failing = is_decimals_failing


@external
@view
@raw_return
def latestRoundData() -> Bytes[256]:
    """
    @notice The last round.
    """
    if self.is_round_failing:
        raw_revert(self.round_output)
    return self.round_output


@external
@view
@raw_return
def decimals() -> Bytes[256]:
    """
    @notice Decimals of the answers.
    """
    if self.is_decimals_failing:
        raw_revert(self.decimals_output)
    return self.decimals_output
