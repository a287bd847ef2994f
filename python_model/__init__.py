"""Exact integer reference model of the contracts: same stems, functions, order and reasons."""
