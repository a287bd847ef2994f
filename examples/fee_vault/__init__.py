"""A vault with a fee, a cap and a lock, its model and its adapter."""
