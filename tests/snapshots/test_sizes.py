"""Every contract stays under 22,000 bytes of runtime code, immutables included."""

from scripts._ci.check_sizes import LIMIT, ROOT, runtime_sizes


def test_every_contract_is_under_the_limit() -> None:
    sizes = runtime_sizes(ROOT)
    assert set(sizes) == {
        "AggregatorPriceFeed",
        "Configurator",
        "LiquidityPool",
        "MarketFactory",
        "MarketLens",
        "PerpMarket",
        "RiskEngine",
        "SignedPriceFeed",
    }
    assert LIMIT == 22_000
    assert {name: size for name, size in sizes.items() if size >= LIMIT} == {}
