"""lockstep: a differential fuzzer for any contract that has a Python model.

The contract runs on a real EVM, the model in Python, both take the same steps, and everything
observable is compared by equality. A protocol joins by writing one Adapter (see adapter.py).
"""
