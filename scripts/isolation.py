"""`ape run isolation`: nobody notices the ruin of another, the same command as `make isolation`."""

from perp_fuzz.__main__ import main

cli = main.commands["isolation"]
