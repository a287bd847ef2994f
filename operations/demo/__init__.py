"""A living market on this machine: `make demo`."""
