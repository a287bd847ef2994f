"""What a deployment asks of a chain, and what a deploy file says of it."""

from typing import Any

from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import BadFunctionCallOutput, ContractLogicError, Web3RPCError
from web3.types import RPCEndpoint

from lockstep.abi import keccak
from lockstep.errors import InputError
from operations.codec import artifact_of, calldata, decoded
from operations.rehearsal import CREATE2_DEPLOYER, CREATE2_DEPLOYER_CODE
from operations.settings import AggregatorFeed, Settings


class Chain:
    """What is asked of the chain."""

    def __init__(self, web3: Web3) -> None:
        self.web3 = web3
        provider = web3.provider
        if isinstance(provider, Web3.HTTPProvider):
            # With every call web3 asks for the chain id, which does not change.
            provider.cache_allowed_requests = True
            provider.cacheable_requests = {RPCEndpoint("eth_chainId")}

    def code(self, address: str, block: int | None = None) -> bytes:
        """Runtime code; empty if there is none."""
        where = self.web3.to_checksum_address(address)
        return bytes(self.web3.eth.get_code(where, "latest" if block is None else block))

    def view(self, address: str, contract: str, name: str, *values: Any) -> Any:
        """What a view answers, as JSON. None if it reverts or answers something else."""
        artifact = artifact_of(contract)
        data = HexBytes(calldata(artifact, name, *values))
        where = self.web3.to_checksum_address(address)
        try:
            answer = self.web3.eth.call({"to": where, "data": data})
            return decoded(artifact, name, bytes(answer))
        except (ContractLogicError, BadFunctionCallOutput, Web3RPCError, ValueError):
            return None
        except Exception as error:  # of eth_abi, whose errors have no common class but this
            if type(error).__module__.startswith("eth_abi"):
                return None
            raise

    def decimals(self, address: str) -> int | None:
        """Of a token or an aggregator; None if it does not say."""
        found = self.view(address, "testing/TokenMock", "decimals")
        return None if found is None else int(found)

    def has_create2(self) -> bool:
        """Whether the deterministic deployer is there."""
        return self.code(CREATE2_DEPLOYER) == CREATE2_DEPLOYER_CODE


# TLOAD of nothing, MCOPY of nothing, an empty contract: fails before Cancun.
CANCUN_INITCODE = bytes.fromhex("5f5c505f5f5f5e5f5ff3")


def hash_of(code: bytes) -> str:
    """Hash of a code, as the chain's own."""
    return "0x" + keccak(code).hex()


def check_chain_id(web3: Web3, settings: Settings) -> None:
    """The file is for the chain that we are connected to."""
    found = int(web3.eth.chain_id)
    if found != settings.chain_id:
        raise settings.error(
            "chain_id",
            f"{settings.chain_id}, but the network has {found}: choose another --network, or "
            "correct the file",
        )


def check_evm(web3: Web3) -> None:
    """The network runs what the contracts are compiled for."""
    try:
        web3.eth.call({"data": HexBytes(CANCUN_INITCODE)})
    except (ContractLogicError, Web3RPCError, ValueError):
        raise InputError(
            "--network: its EVM lacks instructions of Cancun, for which the contracts are "
            "compiled: choose another"
        ) from None


def check_given(chain: Chain, settings: Settings) -> None:
    """What the file says of contracts that are there already."""
    token = settings.token
    if token.address is not None:
        _check_decimals(chain, settings, "token", "address", token.address, token.decimals)
    for name, feed in settings.feeds.items():
        if not isinstance(feed, AggregatorFeed):
            continue
        key = f"feeds.{name}"
        if feed.aggregator is not None:
            _check_decimals(chain, settings, key, "aggregator", feed.aggregator, feed.decimals)
        if feed.sequencer is not None:
            _check_code(chain, settings, f"{key}.sequencer", feed.sequencer)
    if settings.profile == "production":
        _check_code(chain, settings, "roles.owner", settings.owner)


def _check_code(chain: Chain, settings: Settings, key: str, address: str) -> None:
    if not chain.code(address):
        raise settings.error(
            key, f"there is no contract at {address} on chain {settings.chain_id}: correct it"
        )


def _check_decimals(
    chain: Chain, settings: Settings, table: str, key: str, address: str, stated: int
) -> None:
    _check_code(chain, settings, f"{table}.{key}", address)
    found = chain.decimals(address)
    if found is None:
        raise settings.error(
            f"{table}.{key}", f"the contract at {address} answers no decimals(): correct it"
        )
    if found != stated:
        raise settings.error(
            f"{table}.decimals", f"{stated}, but the contract at {address} has {found}: correct it"
        )
