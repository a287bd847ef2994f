"""The web page: a market's health at a glance."""
