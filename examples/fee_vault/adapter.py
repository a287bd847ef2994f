"""The fee vault's adapter: all that lockstep needs to know of this protocol.

Encoders, events, storage words, reverts and reports follow from the compiled contracts; here is
what a compiler cannot know: how the contracts are deployed, which steps are worth drawing, and what
always holds.
"""

import random
from pathlib import Path

from examples.fee_vault.coin import Coin
from examples.fee_vault.fee_vault import FeeVault
from lockstep.adapter import Config
from lockstep.mirror import Mirror, MirrorAdapter, invariant, step

SAVERS = ("saver_0", "saver_1", "saver_2", "attacker")
WEALTH = 10**12

CONFIGS: tuple[Config, ...] = (
    {"fee_bps": 30, "cap": 2 * WEALTH},
    {"fee_bps": 0, "cap": 10**6},  # small numbers: each rounding shows
    {"fee_bps": 500, "cap": WEALTH // 2},
)


class FeeVaultMirror(Mirror):
    """A coin, the vault that holds it, its owner and four savers, of which one is a contract."""

    name = "fee vault"
    root = Path(__file__).parents[2]
    contracts = {  # noqa: RUF012
        "coin": ("examples/fee_vault/Coin.vy", Coin),
        "vault": ("examples/fee_vault/FeeVault.vy", FeeVault),
    }
    roles = ("owner", *SAVERS)
    relays = ("attacker",)
    delays = (0, 0, 1, 12, 600, 3_600, 86_399, 86_400)

    coin: Coin
    vault: FeeVault

    def deploy(self, config: Config) -> None:
        fee_bps, cap = config.get("fee_bps", 30), config.get("cap", WEALTH)
        self.coin = self.create("coin")
        self.vault = self.create("vault", self.coin, fee_bps, cap)
        self.price = (1, FeeVault.VIRTUAL_SHARES)
        self.largest = 0
        for saver in SAVERS:
            self.call("owner", "coin.mint", saver, WEALTH)
            self.call(saver, "coin.approve", "vault", 2**255)

    # -- steps -------------------------------------------------------------------------------------

    def some(self, rng: random.Random, most: int, least: int = 1) -> int | None:
        """Any size up to `most`: all of it now and then, crumbs as often as large amounts."""
        if most < least:
            return None
        size = rng.randrange(1 << rng.randrange(1, most.bit_length() + 1))
        return most if rng.random() < 0.1 else least + size % (most - least + 1)

    def saver(self, rng: random.Random) -> str:
        return self.address[rng.choice(SAVERS)]

    @step("vault.deposit", weight=20, by=SAVERS, says="deposits {0} for {1}")
    def deposit(self, rng: random.Random, me: str) -> tuple[int, str] | None:
        room = min(self.vault.maxDeposit(me), self.coin.balanceOf[me])
        assets = self.some(rng, room, least=self.vault.previewMint(1))
        return None if assets is None else (assets, rng.choice((me, me, self.saver(rng))))

    @step("vault.mint", weight=10, by=SAVERS, says="mints {0} shares for {1}")
    def mint(self, rng: random.Random, me: str) -> tuple[int, str] | None:
        room = min(self.vault.maxDeposit(me), self.coin.balanceOf[me])
        shares = self.some(rng, self.vault.previewDeposit(room))
        return None if shares is None else (shares, me)

    @step("vault.redeem", weight=20, by=SAVERS, says="redeems {0} shares of {2} to {1}")
    def redeem(self, rng: random.Random, me: str) -> tuple[int, str, str] | None:
        shares = self.some(rng, self.vault.maxRedeem(me))
        return None if shares is None else (shares, self.saver(rng), me)

    @step("vault.withdraw", weight=10, by=SAVERS, says="withdraws {0} of {2} to {1}")
    def withdraw(self, rng: random.Random, me: str) -> tuple[int, str, str] | None:
        assets = self.some(rng, self.vault.previewRedeem(self.vault.maxRedeem(me)))
        return None if assets is None else (assets, me, me)

    @step("vault.transfer", weight=10, by=SAVERS, says="sends {1} shares to {0}")
    def transfer(self, rng: random.Random, me: str) -> tuple[str, int] | None:
        shares = self.some(rng, self.vault.maxRedeem(me))
        return None if shares is None else (self.saver(rng), shares)

    @step("coin.transfer", weight=2, by=SAVERS, says="gives {1} coins to {0}")
    def donate(self, rng: random.Random, me: str) -> tuple[str, int] | None:
        coins = self.some(rng, min(self.coin.balanceOf[me], 1_000))
        return None if coins is None else (self.vault.address, coins)

    @step("coin.approve", weight=4, by=SAVERS, says="lets {0} take {1} coins")
    def approve(self, rng: random.Random, me: str) -> tuple[str, int]:
        return self.vault.address, rng.choice((self.coin.balanceOf[me], 2**255, 2**255))

    @step("coin.mint", weight=1, by=["owner"], says="mints {1} coins for {0}")
    def mint_coins(self, rng: random.Random, me: str) -> tuple[str, int]:
        return self.saver(rng), rng.randrange(WEALTH // 1_000)

    @step("vault.set_terms", weight=1, by=["owner"], says="sets a fee of {0} bps and a cap of {1}")
    def set_terms(self, rng: random.Random, me: str) -> tuple[int, int]:
        return rng.randrange(FeeVault.MAX_FEE_BPS + 1), rng.choice((10**6, WEALTH, 4 * WEALTH))

    # -- what always holds -------------------------------------------------------------------------

    @invariant("V1", "the shares of all holders add up to the supply")
    def shares_add_up(self) -> str | None:
        held, supply = sum(self.vault.balanceOf.values()), self.vault.totalSupply
        return None if held == supply else f"held {held}, supply {supply}"

    @invariant("V2", "the vault's coins cover the fees")
    def fees_are_there(self) -> str | None:
        held, fees = self.coin.balanceOf[self.vault.address], self.vault.fees
        return None if held >= fees else f"{held} coins, {fees} fees"

    @invariant("V3", "the price of a share never falls")
    def price_never_falls(self) -> str | None:
        assets, shares = self.price
        self.price = now = (self.vault.totalAssets() + 1, self.vault.totalSupply + 1_000)
        self.largest = max(self.largest, now[0])
        return None if now[0] * shares >= assets * now[1] else f"{assets}/{shares} to {now}"

    def statistics(self) -> dict[str, int]:
        return {"largest total of assets": self.largest}


ADAPTER = MirrorAdapter(FeeVaultMirror)
