"""Crashes replayed on the model: prices from files, a seeded crowd of traders, tables of damage."""
