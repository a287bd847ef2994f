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
def factory(project, owner, treasury):
    """The blueprints declared, and the factory that deploys from them."""
    blueprints = [
        owner.declare(container).contract_address
        for container in (project.PerpMarket, project.LiquidityPool, project.PriceFeed)
    ]
    return owner.deploy(project.MarketFactory, *blueprints, treasury)


@pytest.fixture
def deploy(project, chain, people, factory) -> Callable[..., Story]:
    """A market with collateral of these decimals."""

    def make(decimals: int = 6, container=project.TokenMock) -> Story:
        token = people["owner"].deploy(container, decimals)
        return Story(project, chain, people, factory, token, decimals)

    return make


@pytest.fixture
def story(deploy) -> Story:
    return deploy()


@pytest.fixture(params=["6", "8", "18", "6 without return values"])
def any_story(request, deploy, project) -> Story:
    """Every kind of collateral."""
    decimals, _, rest = request.param.partition(" ")
    return deploy(int(decimals), project.NoReturnTokenMock if rest else project.TokenMock)
