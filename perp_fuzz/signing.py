"""Publishers' keys, and the signatures of their price reports (EIP-712)."""

from functools import lru_cache

from coincurve import PrivateKey

from lockstep.abi import keccak, words
from lockstep.engines.base import CHAIN_ID
from python_model.evm import Chain
from python_model.signed_price_feed import Header, Report

DOMAIN_TYPE_HASH = keccak(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
REPORT_TYPE_HASH = keccak(
    b"PriceReport(bytes32 feedId,uint8 decimals,int256 price,uint256 confidence,"
    b"uint256 publishTime)"
)
NAME_HASH, VERSION_HASH = keccak(b"Ringfence"), keccak(b"1")
ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141  # secp256k1
# A signature counts for a minute of chain time: what is forgotten has long been too old to be read.
REMEMBERED = 4_096


@lru_cache
def key_of(role: str) -> PrivateKey:
    """The key that a role signs with, the same in every run."""
    return PrivateKey(keccak(b"ringfence publisher " + role.encode()))


@lru_cache
def address_of(role: str) -> str:
    """The address whose reports are those of the role."""
    return "0x" + keccak(key_of(role).public_key.format(compressed=False)[1:])[-20:].hex()


@lru_cache
def _signing_parts(role: str) -> tuple[int, int, int, int]:
    """The role's key, r and the parity of its point, and the inverse of the nonce they are of.

    One nonce for all signatures gives a key away, and saves the multiplication of a point that
    makes a signature slow. Keys that anyone can work out from a name have nothing to lose.
    """
    nonce = int.from_bytes(keccak(b"ringfence nonce " + role.encode()), "big") % ORDER
    x, y = PrivateKey.from_int(nonce).public_key.point()
    return key_of(role).to_int(), x % ORDER, y & 1, pow(nonce, -1, ORDER)


def by_address(*roles: str) -> tuple[str, ...]:
    """The roles in the order in which a batch has to bring their reports."""
    return tuple(sorted(roles, key=address_of))


@lru_cache
def domain_separator(chain_id: int, contract: str) -> bytes:
    """Hash of the domain in which the reports for one feed are signed."""
    return keccak(words(DOMAIN_TYPE_HASH, NAME_HASH, VERSION_HASH, chain_id, contract))


def digest(contract: str, header: Header, price: int, confidence: int) -> bytes:
    """What a publisher signs."""
    body = words(
        REPORT_TYPE_HASH, header.feed_id, header.decimals, price, confidence, header.price_time
    )
    return keccak(b"\x19\x01" + domain_separator(header.chain_id, contract) + keccak(body))


class Signer:
    """Signs for one feed and lets the model's chain know."""

    def __init__(self, chain: Chain, contract: str, feed_id: bytes, decimals: int) -> None:
        self.chain = chain
        self.contract = contract
        self.feed_id = feed_id
        self.decimals = decimals

    def header(self, price_time: int, chain_id: int = CHAIN_ID) -> Header:
        """What a batch of this feed has in common."""
        return Header(chain_id, self.feed_id, self.decimals, price_time)

    def sign(self, role: str, header: Header, price: int, confidence: int) -> tuple[int, int]:
        """The role's signature as r and vs."""
        hashed = int.from_bytes(digest(self.contract, header, price, confidence), "big")
        key, r, parity, inverse = _signing_parts(role)
        s = inverse * (hashed + r * key) % ORDER
        if s > ORDER >> 1:
            s, parity = ORDER - s, 1 - parity
        vs = s | parity << 255
        chain_id, feed_id, decimals, price_time = header
        message = (chain_id, self.contract, feed_id, decimals, price, confidence, price_time)
        known = self.chain.signatures
        if len(known) >= REMEMBERED:
            del known[next(iter(known))]
        self.chain.register_signature(message, r, vs, address_of(role))
        return r, vs

    def report(self, role: str, header: Header, price: int, confidence: int) -> Report:
        """A signed report."""
        return Report(price, confidence, *self.sign(role, header, price, confidence))
