"""`ape run isolation`: isolation of every action against its snapshot, the same command as `make isolation`."""

from perp_fuzz.__main__ import main

cli = main.commands["isolation"]
