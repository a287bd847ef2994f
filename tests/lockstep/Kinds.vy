# pragma version 0.4.3
# pragma nonreentrancy on
"""
@title Every kind of argument, return value, event field and storage variable, for the tests.
@license AGPL-3.0-only
"""

interface IPeer:
    def poke(): nonpayable

struct Item:
    owner: address
    amount: int128
    tag: bytes4

flag Mood:
    CALM
    TENSE

event Noted:
    name: indexed(String[16])
    who: indexed(address)
    item: Item
    pair: int256[2]
    data: Bytes[40]

event Told:
    name: String[16]
    mood: Mood

VERSION: public(constant(String[8])) = "1.2"
PEER: public(immutable(address))

peer: IPeer
count: public(uint8)
signed: public(int256)
is_on: public(bool)
mood: Mood
last: public(Item)
pair: public(int256[2])
recent: public(DynArray[uint256, 4])
name: public(String[16])
data: Bytes[40]
key: public(bytes32)
items: public(HashMap[uint256, Item])
nested: public(HashMap[address, HashMap[int256, bool]])
by_name: public(HashMap[String[16], uint256])
by_key: public(HashMap[bytes4, uint256[2]])


@deploy
def __init__(peer: address, item: Item, name: String[16]):
    PEER = peer
    self.peer = IPeer(peer)
    self.last = item
    self.name = name


@external
def note(name: String[16], item: Item, pair: int256[2], data: Bytes[40]) -> (uint256, Item):
    assert len(name) > 0, "no name"
    old: Item = self.last
    self.last = item
    self.pair = pair
    self.name = name
    self.data = data
    self.items[convert(self.count, uint256)] = item
    self.by_name[name] += 1
    self.by_key[item.tag] = [len(data), convert(self.count, uint256)]
    self.count += 1
    log Noted(name=name, who=msg.sender, item=item, pair=pair, data=data)
    return self.by_name[name], old


@external
def push(values: DynArray[uint256, 4], is_on: bool = True, signed: int256 = -7) -> uint256[2]:
    self.recent = values
    self.is_on = is_on
    self.signed = signed
    self.nested[msg.sender][signed] = is_on
    self.mood = Mood.TENSE if is_on else Mood.CALM
    self.key = keccak256(abi_encode(signed))
    log Told(name=self.name, mood=self.mood)
    return [len(values), convert(is_on, uint256)]


@external
def refuse(code: uint256):
    assert code != 0
    assert code != 1, "one"
    raw_revert(concat(method_id("Refused(uint256)"), convert(code, bytes32)))


@external
@view
def sum_of(items: DynArray[Item, 3]) -> int256:
    total: int256 = 0
    for item: Item in items:
        total += convert(item.amount, int256)
    assert total != 0, "nothing"
    return total
