"""Mirror of contracts/Configurator.vy."""

from typing import TYPE_CHECKING, NamedTuple

from python_model.evm import Chain, Storage, external
from python_model.modules import errors, risk_bounds
from python_model.modules.ownable_2step import Ownable2Step
from python_model.perp_market import PerpMarket
from python_model.risk_engine import RiskEngine, RiskParams

if TYPE_CHECKING:
    from python_model.signed_price_feed import SignedPriceFeed

DELAY = 2 * 86_400
MAX_RESTRICTION = 86_400

NO_PARAMS = RiskParams(
    max_open_interest=0,
    max_skew=0,
    maker_fee=0,
    taker_fee=0,
    initial_fractions=(0, 0, 0, 0),
    maintenance_fractions=(0, 0, 0, 0),
    calm_volatility=0,
    max_volatility_multiplier=0,
    volatility_window=0,
    crowding_lower=0,
    crowding_upper=0,
    max_confidence=0,
    max_jump=0,
    move_windows=(0, 0),
    max_moves=(0, 0),
    cool_down=0,
    max_liquidated_size=0,
    max_pool_loss=0,
    max_bad_debt=0,
    max_insurance_draw=0,
    max_profit_share=0,
)


class ParamsProposal(NamedTuple):
    """Applicable from `eta` on, a Unix time; zero when there is none."""

    eta: int
    params: RiskParams


class PublishersProposal(NamedTuple):
    """The same for the publishers of a feed."""

    eta: int
    quorum: int
    publishers: tuple[str, ...]


class Configurator(Ownable2Step):
    """Changes the parameters of markets and the publishers of feeds."""

    version = "0.2.0"

    def __init__(self, chain: Chain, address: str, guardian: str, owner: str) -> None:
        super().__init__(chain, address)
        self._transfer_ownership(owner)
        self.guardian = guardian
        self.restricted_until: Storage[str, int] = Storage(chain, 0)
        self._params_proposals: Storage[str, ParamsProposal] = Storage(
            chain, ParamsProposal(0, NO_PARAMS)
        )
        self._publishers_proposals: Storage[str, PublishersProposal] = Storage(
            chain, PublishersProposal(0, 0, ())
        )

    @external
    def set_guardian(self, guardian: str, *, sender: str) -> None:
        self._check_owner(sender)
        self.guardian = guardian
        self.log("GuardianSet", guardian)

    # Parameters of a market

    @external
    def propose_params(self, market: PerpMarket, params: RiskParams, *, sender: str) -> int:
        self._check_owner(sender)
        self._check_params(self._engine_of(market), params)
        eta = self.chain.timestamp + DELAY
        self._params_proposals[market.address] = ParamsProposal(eta, params)
        self.log("ParamsProposed", market.address, eta)
        return eta

    @external
    def cancel_params(self, market: PerpMarket, *, sender: str) -> None:
        self._check_owner(sender)
        errors._require(self._params_proposals[market.address].eta > 0, errors.NOTHING_PROPOSED)
        self._params_proposals[market.address] = ParamsProposal(0, NO_PARAMS)
        self.log("ParamsCancelled", market.address)

    @external
    def apply_params(self, market: PerpMarket, *, sender: str) -> None:
        self._check_owner(sender)
        proposal = self._params_proposals[market.address]
        self._require_due(proposal.eta)
        self._params_proposals[market.address] = ParamsProposal(0, NO_PARAMS)
        self._engine_of(market).set_params(proposal.params, sender=self.address)
        self.log("ParamsApplied", market.address)

    @external
    def tighten(self, market: PerpMarket, params: RiskParams, *, sender: str) -> None:
        self._check_owner(sender)
        engine = self._engine_of(market)
        self._check_params(engine, params)
        errors._require(risk_bounds._is_tighter(params, engine.params()), errors.NOT_TIGHTER)
        engine.set_params(params, sender=self.address)
        self.log("ParamsTightened", market.address)

    @external
    def guardian_restrict(self, market: PerpMarket, duration: int, *, sender: str) -> int:
        errors._require(sender in [self.guardian, self.owner], errors.NOT_GUARDIAN)
        errors._require(0 < duration <= MAX_RESTRICTION, errors.BAD_DURATION)
        errors._require(
            self.chain.timestamp >= self.restricted_until[market.address] + MAX_RESTRICTION,
            errors.RESTRICTED_RECENTLY,
        )
        until = self.chain.timestamp + duration
        self.restricted_until[market.address] = until
        self._engine_of(market).restrict(until, sender=self.address)
        self.log("MarketRestricted", market.address, until)
        return until

    # Publishers of a feed

    @external
    def propose_publishers(
        self, feed: "SignedPriceFeed", publishers: tuple[str, ...], quorum: int, *, sender: str
    ) -> int:
        self._check_owner(sender)
        eta = self.chain.timestamp + DELAY
        self._publishers_proposals[feed.address] = PublishersProposal(
            eta, quorum, tuple(publishers)
        )
        self.log("PublishersProposed", feed.address, eta)
        return eta

    @external
    def cancel_publishers(self, feed: "SignedPriceFeed", *, sender: str) -> None:
        self._check_owner(sender)
        errors._require(self._publishers_proposals[feed.address].eta > 0, errors.NOTHING_PROPOSED)
        self._publishers_proposals[feed.address] = PublishersProposal(0, 0, ())
        self.log("PublishersCancelled", feed.address)

    @external
    def apply_publishers(self, feed: "SignedPriceFeed", *, sender: str) -> None:
        self._check_owner(sender)
        proposal = self._publishers_proposals[feed.address]
        self._require_due(proposal.eta)
        self._publishers_proposals[feed.address] = PublishersProposal(0, 0, ())
        feed.set_publishers(proposal.publishers, proposal.quorum, sender=self.address)
        self.log("PublishersApplied", feed.address)

    @external
    def remove_publisher(self, feed: "SignedPriceFeed", publisher: str, *, sender: str) -> None:
        self._check_owner(sender)
        feed.remove_publisher(publisher, sender=self.address)

    # Views

    def proposed_params(self, market: PerpMarket) -> tuple[int, RiskParams]:
        proposal = self._params_proposals[market.address]
        return proposal.eta, proposal.params

    def proposed_publishers(self, feed: "SignedPriceFeed") -> tuple[int, int, tuple[str, ...]]:
        proposal = self._publishers_proposals[feed.address]
        return proposal.eta, proposal.quorum, proposal.publishers

    def _check_params(self, engine: RiskEngine, params: RiskParams) -> None:
        risk_bounds._check_risk_params(params, engine.market_params())

    def _require_due(self, eta: int) -> None:
        errors._require(eta > 0, errors.NOTHING_PROPOSED)
        errors._require(self.chain.timestamp >= eta, errors.TOO_EARLY)

    def _engine_of(self, market: PerpMarket) -> RiskEngine:
        engine = market.engine
        errors._require(engine.market == market.address, errors.NOT_MARKET)
        return engine
