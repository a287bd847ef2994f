"""A deployment on a live chain: deploying it, publishing prices, keeping it, watching it.

What the commands `ape run deploy`, `publish`, `keeper` and `monitor` do, on a connected web3; the
scripts only read options.
"""
