"""`ape run gas`: gas of every action against its snapshot, the same command as `make gas`."""

from perp_fuzz.__main__ import main

cli = main.commands["gas"]
