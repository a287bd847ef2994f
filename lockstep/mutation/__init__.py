"""Mutation testing: small wrong changes of contract and model that a campaign must notice.

`vyper_mutants` and `python_mutants` list the changes, `compilation` compiles each once and drops
duplicates, `hunt` lets a campaign look for a difference, `runner` does that for many at a time and
keeps what was found on disk. Nothing here knows a protocol; `project` says what one has to tell.
"""
