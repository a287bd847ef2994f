"""Mirrors of contracts/modules."""
