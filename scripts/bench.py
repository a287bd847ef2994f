"""`ape run bench`: throughput, the same command as `make bench`."""

from perp_fuzz.__main__ import main

cli = main.commands["bench"]
