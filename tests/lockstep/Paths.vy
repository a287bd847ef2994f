# pragma version 0.4.3
"""
@title Every statement that branches, for the tests of coverage.
@license AGPL-3.0-only
"""

interface Paths:
    def guarded(x: uint256) -> uint256: view

BASE: immutable(uint256)
NAME: immutable(String[32])
total: public(uint256)


@deploy
def __init__(base: uint256, name: String[32]):
    assert base < 1000, "base"
    BASE = base
    NAME = name


@internal
@pure
def _require(ok: bool, reason: String[32]):
    assert ok, reason


@internal
@pure
def _is_even(x: uint256) -> bool:
    return x % 2 == 0


@external
def sign(x: int256) -> int256:
    if x < 0:
        return -1
    elif x == 0:
        self.total += 1
    else:
        return 1
    return 0


@external
@view
def choice(x: uint256) -> uint256:
    return BASE if x > 10 else x


@external
@view
def both(x: uint256, y: uint256, z: uint256) -> bool:
    return x > 0 and y > 0 and z > 0


@external
@view
def either(x: uint256, y: uint256) -> bool:
    return x > 0 or y > 0


@external
def sum(values: DynArray[uint256, 8], limit: uint256) -> uint256:
    found: uint256 = 0
    for value: uint256 in values:
        if value == 0:
            continue
        found += value
        if found > limit:
            break
    return found


@external
@view
def guarded(x: uint256) -> uint256:
    self._require(self._is_even(x), "odd")
    assert x != 4
    return x


@external
def passed_on(x: uint256):
    self.total = staticcall Paths(self).guarded(x)
    self.total = 7
    raise "always"


@external
@view
def name() -> String[32]:
    return NAME
