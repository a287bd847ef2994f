"""`ape run planted`: the planted bugs, the same command as `make planted`."""

from perp_fuzz.__main__ import main

cli = main.commands["planted"]
