"""`ape run solvency`: the sum over positions at every step, the same command as `make solvency`."""

from perp_fuzz.__main__ import main

cli = main.commands["solvency"]
