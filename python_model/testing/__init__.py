"""Mirrors of the test contracts in contracts/testing."""
