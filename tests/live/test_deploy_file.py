"""Deploy files: what is read, and what is refused with file, key and remedy."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockstep.errors import InputError
from operations.bounds import market_bounds, risk_bounds
from operations.settings import AggregatorFeed, SignedFeed, read_settings
from perp_fuzz.deployment import DEFAULT_PARAMS, DEFAULT_RISK
from python_model.evm import Revert
from python_model.modules import constants
from python_model.modules import risk_bounds as enforced
from python_model.perp_market import MarketParams
from python_model.risk_engine import RiskParams
from tests.live.networks import LOCAL, ROOT, changed

SEPOLIA = ROOT / "networks" / "sepolia.toml"


def test_the_local_file_says_what_the_fuzzer_runs():
    market = read_settings(LOCAL).markets["btc"]
    assert (market.params, market.risk) == (DEFAULT_PARAMS, DEFAULT_RISK)


def test_the_testnet_file_has_both_kinds_of_feed():
    feeds = read_settings(SEPOLIA).feeds
    assert isinstance(feeds["btc"], SignedFeed)
    assert isinstance(feeds["eth"], AggregatorFeed)


@pytest.mark.parametrize(
    ("old", "new", "key", "told"),
    [
        ('profile = "local"', 'profle = "local"', "profle", "did you mean profile"),
        ("[token]", "colour = 1\n[token]", "roles.colour", "is no key of [roles]"),
        ("decimals = 6", "decimals = 6\naddr = '0x00'", "token.addr", "did you mean address"),
        ("quorum = 2", "quorum = 2\nheartbeat = 9", "feeds.btc.heartbeat", "is no key of"),
        ("cool_down = 120", "cooldown = 120", "markets.btc.risk.cooldown", "mean cool_down"),
        ("skew_scale = 50_000\n", "", "markets.btc.params.skew_scale", "is missing: add it"),
        ("[markets.btc.risk]", "[markets.btc.risks]", "markets.btc.risks", "did you mean risk"),
        ('profile = "local"', 'profile = "main"', "profile", "choose one"),
        ('profile = "local"', "profile = []", "profile", "choose one"),
        ("chain_id = 31_337", "chain_id = '31337'", "chain_id", "without quotes"),
        ("chain_id = 31_337", "chain_id = true", "chain_id", "no whole number"),
        ("quorum = 2", "quorum = 4", "feeds.btc.quorum", "the publishers are 3"),
        ("quorum = 2", "quorum = 0", "feeds.btc.quorum", "from 1 to 3"),
        ('feed = "btc"', 'feed = "eth"', "markets.btc.feed", "none of btc"),
        ('symbol = "RFBTC"', 'symbol = "RFBTCX"', "markets.btc.symbol", "1 to 5 bytes"),
        ("decimals = 6", "decimals = 19", "token.decimals", "from 0 to 18"),
        ("decimals = 8", "decimals = 19", "feeds.btc.decimals", "from 0 to 18"),
        ('kind = "signed"', 'kind = "oracle"', "feeds.btc.kind", "signed, aggregator"),
        ("0x70997970C5", "0x70997970c5", "roles.owner", "wrong checksum"),
        ("0x70997970C5", "0x7099", "roles.owner", "is no address"),
        ("0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65", "0x" + 40 * "0", "roles.publishers", "zero"),
        (
            "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
            "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
            "roles.publishers",
            "listed twice",
        ),
    ],
)
def test_what_does_not_belong_is_named_with_a_remedy(tmp_path, old, new, key, told):
    path = changed(tmp_path, (old, new))
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: {key}: ')}") as error:
        read_settings(path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "key", "told"),
    [
        ("taker_fee = 0.000_6", "taker_fee = 0.011", "risk.taker_fee", "between 0 and 0.01"),
        ("maker_fee = 0.000_2", "maker_fee = 0.000_7", "risk.maker_fee", "between 0 and 0.0006"),
        ("max_jump = 0.1", "max_jump = 0.04", "risk.max_jump", "between 0.05 and 1"),
        ("max_jump = 0.1", "max_jump = 0.100_000_01", "risk.max_jump", "multiple of 0.0000001"),
        ("cool_down = 120", "cool_down = 59", "risk.cool_down", "between 60 and 86400"),
        ("cool_down = 120", "cool_down = 90.5", "risk.cool_down", "more than 0 decimal places"),
        (
            "max_open_interest = 200",
            "max_open_interest = 226",
            "risk.max_open_interest",
            "between 0 and 208.333333333333333333 (by skew_scale",
        ),
        ("max_skew = 60", "max_skew = 201", "risk.max_skew", "between 0 and 200"),
        ("[0.01, 0.02,", "[0.02, 0.02,", "risk.maintenance_fractions[0]", "and 0.0199999"),
        ("[0.02, 0.04,", "[0.02, 0.01,", "risk.initial_fractions[1]", "between 0.02 and 1"),
        ("[0.1, 0.2]", "[0.2, 0.1]", "risk.max_moves[1]", "not below max_moves[0]"),
        ("[300, 3_600]", "[300, 300]", "risk.move_windows[1]", "between 301 and 604800"),
        ("[300, 3_600]", "[300]", "risk.move_windows", "no list of 2 numbers"),
        ("[1, 5, 20, 50]", "[1, 5, 4, 50]", "params.tier_sizes[2]", "not below the tier before"),
        ("min_size = 0.01", "min_size = 0", "params.min_size", "0.000000000000000001 and 1"),
        ("max_price_age = 240", "max_price_age = 86_401", "params.max_price_age", "1 and 86400"),
        ("keeper_share = 0.1", "keeper_share = -0.1", "params.keeper_share", "from 0 on"),
        ("keeper_share = 0.1", "keeper_share = nan", "params.keeper_share", "from 0 on"),
        ("keeper_share = 0.1", 'keeper_share = "0.1"', "params.keeper_share", "without quotes"),
        ("keeper_share = 0.1", "keeper_share = 1e-19", "params.keeper_share", "18 decimal places"),
        ("max_bad_debt = 1_000_000", "max_bad_debt = 1e30", "risk.max_bad_debt", "between 0 and 7"),
    ],
)
def test_a_bound_exceeded_is_named_with_what_is_allowed(tmp_path, old, new, key, told):
    path = changed(tmp_path, (old, new))
    with pytest.raises(InputError, match=f"^{re.escape(f'{path}: markets.btc.{key}: ')}") as error:
        read_settings(path)
    assert told in str(error.value)


def test_a_feed_of_two_markets_is_refused(tmp_path):
    text = SEPOLIA.read_text().replace('feed = "eth"', 'feed = "btc"')
    path = tmp_path / "sepolia.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"markets\.btc\.feed: 'btc' serves another market too"):
        read_settings(path)


def test_a_network_with_value_wants_its_token_given(tmp_path):
    path = changed(tmp_path, ('profile = "local"', 'profile = "production"'))
    with pytest.raises(InputError, match=r"token\.address: is missing: add it"):
        read_settings(path)


def test_what_is_no_toml_is_told_with_its_place(tmp_path):
    path = changed(tmp_path, ("chain_id = 31_337", "chain_id 31_337"))
    with pytest.raises(InputError, match=r"local\.toml: not readable as TOML: .*line 8"):
        read_settings(path)


def test_a_file_that_is_missing_names_those_that_are_there(tmp_path):
    changed(tmp_path)
    with pytest.raises(InputError, match=r"there are: .*local\.toml"):
        read_settings(tmp_path / "locale.toml")
    with pytest.raises(InputError, match=r"networks there are: local\.toml, sepolia\.toml"):
        read_settings(tmp_path / "nowhere" / "local.toml")


def test_comments_and_confirmations_leave_the_digest_alone(tmp_path):
    digest = read_settings(LOCAL).digest()
    path = changed(tmp_path, ("confirmations = 1", "confirmations = 7 # more"))
    assert read_settings(path).digest() == digest
    path = changed(tmp_path, ("cool_down = 120", "cool_down = 121"))
    assert read_settings(path).digest() != digest


# Where a bound is: the numbers that it depends on, moved a little.
AROUND = st.sampled_from([-(10**11), -1, 0, 1, 10**11])
EDGES = st.sampled_from(
    [
        *(0, 1, constants.WAD, constants.MAX_SIZE, constants.MAX_MARGIN),
        *(value for name, value in vars(enforced).items() if name.startswith(("MAX_", "MIN_"))),
    ]
)


@st.composite
def parameters(draw):
    """The default ones with up to three numbers near a bound, or near another number."""
    params, risk = DEFAULT_PARAMS._asdict(), DEFAULT_RISK._asdict()
    numbers = [
        number
        for value in (params | risk).values()
        for number in (value if isinstance(value, tuple) else (value,))
    ]
    for _ in range(draw(st.integers(0, 3))):
        table = draw(st.sampled_from([params, risk]))
        key = draw(st.sampled_from(sorted(table)))
        near = draw(EDGES | st.sampled_from(numbers)) + draw(AROUND)
        value = max(near, 0)
        if isinstance(table[key], tuple):
            place = draw(st.integers(0, len(table[key]) - 1))
            value = (*table[key][:place], value, *table[key][place + 1 :])
        table[key] = value
    return MarketParams(**params), RiskParams(**risk)


@settings(max_examples=300)
@given(parameters())
def test_the_bounds_are_those_that_the_contracts_enforce(drawn):
    params, risk = drawn
    try:
        enforced._check_market_params(params)
        enforced._check_risk_params(risk, params)
        is_allowed = True
    except Revert:
        is_allowed = False
    bounds = [*market_bounds(params), *risk_bounds(risk, params)]
    assert is_allowed == (not any(bound.problem(18) for bound in bounds))


def test_every_parameter_has_a_bound():
    keys = {
        bound.key.partition("[")[0]
        for bound in (*market_bounds(DEFAULT_PARAMS), *risk_bounds(DEFAULT_RISK, DEFAULT_PARAMS))
    }
    assert keys == {*MarketParams._fields, *RiskParams._fields}
