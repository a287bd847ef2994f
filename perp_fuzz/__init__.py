"""Ringfence's adapter of lockstep: the perpetual market and its model, driven together."""
