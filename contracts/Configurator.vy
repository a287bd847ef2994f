# pragma version 0.4.3
"""
@title Configurator
@license AGPL-3.0-only
@notice Changes the parameters of markets and the publishers of feeds, for all markets of a factory.
        What could harm those who are in a market waits DELAY, so that they can leave; what only
        tightens does not. Holds no tokens and no power over any.
@dev    OWNER        Proposes and, after DELAY, applies parameters and publishers; tightens at once;
                     removes a publisher at once; names the guardian.
        GUARDIAN     As the owner: restricts a market to exits, for at most MAX_RESTRICTION, and not
                     again before as long a pause.
        NOBODY       Touches tokens, positions, prices, or parameters beyond module risk_bounds.
        INVARIANTS   I-7, I-15 of docs/invariants.md.
@custom:kill Tighten the open interest cap to zero; see docs/shutdown.md.
"""

from snekmate.auth import ownable
from snekmate.auth import ownable_2step

from contracts.interfaces import IConfigurator
from contracts.interfaces import IPerpMarket
from contracts.interfaces import IRiskEngine
from contracts.interfaces import ISignedPriceFeed
from contracts.modules import errors
from contracts.modules import risk_bounds

implements: IConfigurator
initializes: ownable
initializes: ownable_2step[ownable := ownable]
exports: (
    ownable_2step.owner,
    ownable_2step.pending_owner,
    ownable_2step.transfer_ownership,
    ownable_2step.accept_ownership,
)

interface Market:
    def engine() -> address: view

interface Engine:
    def market() -> address: view
    def market_params() -> IPerpMarket.MarketParams: view

# Applicable from `eta` on, a Unix time; zero when there is none.
struct ParamsProposal:
    eta: uint256
    params: IRiskEngine.RiskParams

struct PublishersProposal:
    eta: uint256
    quorum: uint256
    publishers: DynArray[address, 8]

version: public(constant(String[8])) = "0.2.0"

# Seconds.
DELAY: public(constant(uint256)) = 2 * 86_400
MAX_RESTRICTION: public(constant(uint256)) = 86_400

guardian: public(address)
# When the last restriction of a market ends.
restricted_until: public(HashMap[address, uint256])

_params_proposals: HashMap[address, ParamsProposal]  # by market
_publishers_proposals: HashMap[address, PublishersProposal]  # by feed


@deploy
def __init__(guardian: address, owner: address):
    """
    @notice The owner is named, since whoever deploys may be a contract that deploys for anyone.
    """
    ownable.__init__()
    ownable_2step.__init__()
    ownable_2step._transfer_ownership(owner)
    self.guardian = guardian


@external
def set_guardian(guardian: address):
    """
    @notice Names the guardian. Owner only.
    """
    ownable._check_owner()
    self.guardian = guardian
    log IConfigurator.GuardianSet(guardian=guardian)


# Parameters of a market


@external
def propose_params(market: address, params: IRiskEngine.RiskParams) -> uint256:
    """
    @notice Announces parameters, in place of what was announced for this market before. Owner only.
    @return Unix time from which on they can be applied.
    """
    ownable._check_owner()
    self._check_params(self._engine_of(market), params)
    eta: uint256 = block.timestamp + DELAY
    self._params_proposals[market] = ParamsProposal(eta=eta, params=params)
    log IConfigurator.ParamsProposed(market=market, eta=eta)
    return eta


@external
def cancel_params(market: address):
    """
    @notice Withdraws what was announced for a market. Owner only.
    """
    ownable._check_owner()
    errors._require(self._params_proposals[market].eta > 0, errors.NOTHING_PROPOSED)
    self._params_proposals[market] = empty(ParamsProposal)
    log IConfigurator.ParamsCancelled(market=market)


@external
def apply_params(market: address):
    """
    @notice Puts announced parameters into effect. Owner only.
    """
    ownable._check_owner()
    proposal: ParamsProposal = self._params_proposals[market]
    self._require_due(proposal.eta)
    self._params_proposals[market] = empty(ParamsProposal)
    extcall self._engine_of(market).set_params(proposal.params)
    log IConfigurator.ParamsApplied(market=market)


@external
def tighten(market: address, params: IRiskEngine.RiskParams):
    """
    @notice Puts parameters into effect at once that are in no way looser than the present ones (see
            risk_bounds). Owner only.
    """
    ownable._check_owner()
    engine: IRiskEngine = self._engine_of(market)
    self._check_params(engine, params)
    errors._require(
        risk_bounds._is_tighter(params, staticcall engine.params()), errors.NOT_TIGHTER
    )
    extcall engine.set_params(params)
    log IConfigurator.ParamsTightened(market=market)


@external
def guardian_restrict(market: address, duration: uint256) -> uint256:
    """
    @notice Leaves only exits in a market for a while. Guardian or owner.
    @param duration Seconds, at most MAX_RESTRICTION; not again before MAX_RESTRICTION after its end.
    @return Unix time until which it holds.
    """
    errors._require(msg.sender in [self.guardian, ownable.owner], errors.NOT_GUARDIAN)
    errors._require(duration > 0 and duration <= MAX_RESTRICTION, errors.BAD_DURATION)
    errors._require(
        block.timestamp >= self.restricted_until[market] + MAX_RESTRICTION,
        errors.RESTRICTED_RECENTLY,
    )
    until: uint256 = block.timestamp + duration
    self.restricted_until[market] = until
    extcall self._engine_of(market).restrict(until)
    log IConfigurator.MarketRestricted(market=market, until=until)
    return until


# Publishers of a feed


@external
def propose_publishers(
    feed: address, publishers: DynArray[address, 8], quorum: uint256
) -> uint256:
    """
    @notice Announces the publishers of a feed, in place of what was announced before. Owner only.
    @param publishers All of them; the feed checks them when they take effect.
    @param quorum How many must sign a price.
    @return Unix time from which on they can be applied.
    """
    ownable._check_owner()
    eta: uint256 = block.timestamp + DELAY
    self._publishers_proposals[feed] = PublishersProposal(
        eta=eta, quorum=quorum, publishers=publishers
    )
    log IConfigurator.PublishersProposed(feed=feed, eta=eta)
    return eta


@external
def cancel_publishers(feed: address):
    """
    @notice Withdraws what was announced for a feed. Owner only.
    """
    ownable._check_owner()
    errors._require(self._publishers_proposals[feed].eta > 0, errors.NOTHING_PROPOSED)
    self._publishers_proposals[feed] = empty(PublishersProposal)
    log IConfigurator.PublishersCancelled(feed=feed)


@external
def apply_publishers(feed: address):
    """
    @notice Puts announced publishers into effect. Owner only.
    """
    ownable._check_owner()
    proposal: PublishersProposal = self._publishers_proposals[feed]
    self._require_due(proposal.eta)
    self._publishers_proposals[feed] = empty(PublishersProposal)
    extcall ISignedPriceFeed(feed).set_publishers(proposal.publishers, proposal.quorum)
    log IConfigurator.PublishersApplied(feed=feed)


@external
def remove_publisher(feed: address, publisher: address):
    """
    @notice Takes a publisher off a feed at once; its quorum stays. Owner only.
    """
    ownable._check_owner()
    extcall ISignedPriceFeed(feed).remove_publisher(publisher)


# Views


@external
@view
def proposed_params(market: address) -> (uint256, IRiskEngine.RiskParams):
    """
    @notice Unix time from which on the announced parameters of a market can be applied, zero when
            there are none, and these.
    """
    proposal: ParamsProposal = self._params_proposals[market]
    return proposal.eta, proposal.params


@external
@view
def proposed_publishers(feed: address) -> (uint256, uint256, DynArray[address, 8]):
    """
    @notice Unix time from which on the announced publishers of a feed can be applied, zero when
            there are none; quorum; and these.
    """
    proposal: PublishersProposal = self._publishers_proposals[feed]
    return proposal.eta, proposal.quorum, proposal.publishers


@internal
@view
def _check_params(engine: IRiskEngine, params: IRiskEngine.RiskParams):
    risk_bounds._check_risk_params(params, staticcall Engine(engine.address).market_params())


@internal
@view
def _require_due(eta: uint256):
    errors._require(eta > 0, errors.NOTHING_PROPOSED)
    errors._require(block.timestamp >= eta, errors.TOO_EARLY)


@internal
@view
def _engine_of(market: address) -> IRiskEngine:
    """
    @notice The engine of a market, as both say. Whoever only names the engine of another could be
            announced, checked and paused in its place.
    """
    engine: address = staticcall Market(market).engine()
    errors._require(staticcall Engine(engine).market() == market, errors.NOT_MARKET)
    return IRiskEngine(engine)
