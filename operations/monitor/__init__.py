"""The monitor: follows a market block by block and holds it to the reference model."""
