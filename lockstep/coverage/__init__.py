"""Coverage of contracts and model by a campaign."""
