"""`ape run fuzz`: the differential fuzzer, the same command as `make fuzz`."""

from perp_fuzz.__main__ import main

cli = main.commands["fuzz"]
