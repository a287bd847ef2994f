"""The market in both forms, ready to trade; helpers are imported by their plain names."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from both_forms import BothForms


@pytest.fixture
def bare() -> Iterator[BothForms]:
    """Just deployed: no price, no liquidity."""
    with BothForms() as forms:
        yield forms


@pytest.fixture
def market() -> Iterator[BothForms]:
    """With a price of 10,000 and a pool of a million."""
    with BothForms() as forms:
        forms.start()
        yield forms
