"""The protocol deployed through ape, its model beside it, and the people who use it."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from story import ROLES, Story


@pytest.fixture(scope="session")
def people(accounts):
    """Accounts by role."""
    return dict(zip(ROLES, accounts, strict=False))


@pytest.fixture(scope="session")
def owner(people):
    return people["owner"]


@pytest.fixture(scope="session")
def treasury(people):
    return people["treasury"]


@pytest.fixture(scope="session")
def configurator(project, owner, people):
    return owner.deploy(project.Configurator, people["guardian"], owner)


@pytest.fixture(scope="session")
def factory(project, owner, configurator, treasury):
    """The blueprints declared, and the factory that deploys from them."""
    blueprints = [
        owner.declare(container).contract_address
        for container in (project.PerpMarket, project.LiquidityPool, project.RiskEngine)
    ]
    return owner.deploy(project.MarketFactory, *blueprints, configurator, treasury, owner)


@pytest.fixture
def deploy(project, chain, people, factory, configurator) -> Callable[..., Story]:
    """A market with collateral of these decimals, and some parameters replaced."""

    def make(
        decimals: int = 6, container=project.TokenMock, feed: str = "signed", **changes
    ) -> Story:
        token = people["owner"].deploy(container, decimals)
        given = (factory, configurator, token, decimals)
        return Story(project, chain, people, *given, feed, **changes)

    return make


@pytest.fixture
def story(deploy) -> Story:
    return deploy()


@pytest.fixture(params=["6", "8 from an aggregator", "18", "6 without return values"])
def any_story(request, deploy, project) -> Story:
    """Every kind of collateral, and both kinds of feed."""
    decimals, _, rest = request.param.partition(" ")
    container = project.NoReturnTokenMock if "without" in rest else project.TokenMock
    feed = "aggregator" if "aggregator" in rest else "signed"
    return deploy(int(decimals), container, feed)
