// SPDX-License-Identifier: AGPL-3.0-only
pragma solidity 0.8.30;

import {ERC4626Test, IERC20, IERC4626} from "erc4626-tests/ERC4626.test.sol";

interface IToken {
    function mint(address receiver, uint256 amount) external;
}

interface IPool {
    function market() external view returns (address);
    function cash() external view returns (uint256);
    function collect_loss(uint256 amount) external;
    function pay_profit(address owner, uint256 amount) external returns (uint256);
}

/// The published properties of ERC-4626 vaults, held against the pool at the address $POOL of the
/// forked chain. Of the pool this says how it gets into the states in which they are checked; why so
/// is in docs/vault_suite.md.
contract PoolSuite is ERC4626Test {
    // A pool's cash stays below 2**96 units: four deposits, a gain and one more deposit fit.
    uint256 internal constant MOST_BITS = 93;
    address internal constant WINNER = address(uint160(uint256(keccak256("trader who wins"))));

    address internal market;

    function setUp() public override {
        _vault_ = vm.envAddress("POOL");
        _underlying_ = IERC4626(_vault_).asset();
        market = IPool(_vault_).market();
        _delta_ = 0;
        _vaultMayBeEmpty = true;
        _unlimitedAmount = false;
    }

    /// Shares and tokens of every order of magnitude, among them none at all. With $AGE the price is
    /// so many seconds older when the properties are checked.
    function setUpVault(Init memory init) public override {
        for (uint256 i = 0; i < N; i++) {
            vm.assume(_isEOA(init.user[i]));
            _endow(init.user[i], _amount(init.share[i]), _amount(init.asset[i]));
        }
        setUpYield(init);
        vm.warp(block.timestamp + vm.envOr("AGE", uint256(0)));
    }

    /// The pool's assets are what is booked, so a gift is no yield: it gains what the market collects
    /// from traders who lose, and loses what the market has it pay to traders who win. A loss takes
    /// any part of the cash, or leaves any amount of it, or is more than there is: a claim, after
    /// which it gains again.
    function setUpYield(Init memory init) public override {
        if (init.yield >= 0) return _gain(_amount(uint256(init.yield)));
        uint256 cash = IPool(_vault_).cash();
        uint256 seed = uint256(-(init.yield + 1));
        uint256 loss = bound(seed, 0, cash + cash / 16);
        if (seed % 2 == 0) loss = cash - bound(_amount(seed), 0, cash);
        vm.prank(market);
        IPool(_vault_).pay_profit(WINNER, loss);
        if (loss > cash) _gain(_amount(seed / 2));
    }

    function _gain(uint256 gain) private {
        IToken(_underlying_).mint(market, gain);
        vm.prank(market);
        assertTrue(IERC20(_underlying_).transfer(_vault_, gain));
        vm.prank(market);
        IPool(_vault_).collect_loss(gain);
    }

    function _endow(address user, uint256 deposited, uint256 kept) private {
        if (deposited > 0) {
            IToken(_underlying_).mint(user, deposited);
            _approve(_underlying_, user, _vault_, deposited);
            vm.prank(user);
            try IERC4626(_vault_).deposit(deposited, user) {} catch { vm.assume(false); }
        }
        IToken(_underlying_).mint(user, kept);
    }

    /// Nothing for a third of the seeds, else an amount of any number of bits.
    function _amount(uint256 seed) private pure returns (uint256) {
        if (seed % 3 == 0) return 0;
        uint256 bits = 1 + uint256(keccak256(abi.encode(seed))) % MOST_BITS;
        return seed % (2 ** bits);
    }

    // Two properties have names in the suite that forge no longer runs: here they are run by others

    function test_withdraw_without_allowance(Init memory init, uint256 assets) public {
        _refusesWithoutAllowance(abi.encodeCall(this.testFail_withdraw, (init, assets)));
    }

    function test_redeem_without_allowance(Init memory init, uint256 shares) public {
        _refusesWithoutAllowance(abi.encodeCall(this.testFail_redeem, (init, shares)));
    }

    function _refusesWithoutAllowance(bytes memory test) private {
        (bool done, bytes memory reason) = address(this).call(test);
        assertFalse(done, "no allowance was needed");
        bytes memory refusal =
            abi.encodeWithSignature("Error(string)", "erc20: insufficient allowance");
        // An input that the test assumes away, or that another rule stops first, shows nothing.
        vm.assume(keccak256(reason) == keccak256(refusal));
    }

    // Ours: what the suite is restricted to is all there is, so `_unlimitedAmount` can stay off

    function test_no_more_than_is_there(Init memory init, uint256 action, uint256 more) public {
        setUpVault(init);
        address caller = init.user[0];
        more = 1 + _amount(more);
        _approve(_underlying_, caller, _vault_, type(uint256).max);
        bytes memory call;
        if (action % 4 == 0) {
            call = abi.encodeCall(IERC4626.deposit, (_max_deposit(caller) + more, caller));
        } else if (action % 4 == 1) {
            call = abi.encodeCall(IERC4626.mint, (_max_mint(caller) + more, caller));
        } else if (action % 4 == 2) {
            call = abi.encodeCall(IERC4626.withdraw, (_max_withdraw(caller) + more, caller, caller));
        } else {
            call = abi.encodeCall(IERC4626.redeem, (_max_redeem(caller) + more, caller, caller));
        }
        vm.prank(caller);
        (bool done,) = _vault_.call(call);
        assertFalse(done, "more than there is");
    }

    // Ours: whoever goes there and back is left with no more, shares that were there before included

    function test_no_profit_there_and_back(Init memory init, uint256 way, uint256 amount) public {
        setUpVault(init);
        address caller = init.user[0];
        _approve(_underlying_, caller, _vault_, type(uint256).max);
        uint256 before = _wealth(caller);
        _goThereAndBack(caller, way % 8, amount);
        assertLe(_wealth(caller), before);
    }

    function _goThereAndBack(address caller, uint256 way, uint256 amount) private {
        if (way == 0) prop_RT_deposit_redeem(caller, bound(amount, 0, _max_deposit(caller)));
        if (way == 1) prop_RT_deposit_withdraw(caller, bound(amount, 0, _max_deposit(caller)));
        if (way == 2) prop_RT_mint_redeem(caller, bound(amount, 0, _max_mint(caller)));
        if (way == 3) prop_RT_mint_withdraw(caller, bound(amount, 0, _max_mint(caller)));
        if (way == 4) prop_RT_redeem_deposit(caller, bound(amount, 0, _max_redeem(caller)));
        if (way == 5) prop_RT_redeem_mint(caller, bound(amount, 0, _max_redeem(caller)));
        if (way == 6) prop_RT_withdraw_deposit(caller, bound(amount, 0, _max_withdraw(caller)));
        if (way == 7) prop_RT_withdraw_mint(caller, bound(amount, 0, _max_withdraw(caller)));
    }

    function _wealth(address account) private returns (uint256) {
        uint256 shares = IERC20(_vault_).balanceOf(account);
        return IERC20(_underlying_).balanceOf(account) + vault_convertToAssets(shares);
    }

    // Ours: what the limits promise is done, and one more is not

    function test_limits_are_met(Init memory init, uint256 action) public {
        setUpVault(init);
        IERC4626 pool = IERC4626(_vault_);
        address caller = init.user[0];
        _approve(_underlying_, caller, _vault_, type(uint256).max);
        IToken(_underlying_).mint(caller, 2 ** 128);
        if (action % 4 == 0) _isLimit(caller, pool.maxDeposit(caller), this.deposit);
        if (action % 4 == 1) _isLimit(caller, pool.maxMint(caller), this.mint);
        if (action % 4 == 2) _isLimit(caller, pool.maxWithdraw(caller), this.withdraw);
        if (action % 4 == 3) _isLimit(caller, pool.maxRedeem(caller), this.redeem);
    }

    function _isLimit(
        address caller,
        uint256 limit,
        function(address, uint256) external returns (bool) act
    ) private {
        vm.assume(limit > 0);
        assertFalse(act(caller, limit + 1), "more than the limit");
        assertTrue(act(caller, limit), "the limit itself");
    }

    // Ours, for a price that is too old: nothing moves, and the limits say so

    function test_closed_without_a_price(Init memory init, uint256 amount) public {
        setUpVault(init);
        IERC4626 pool = IERC4626(_vault_);
        address caller = init.user[0];
        assertEq(pool.maxDeposit(caller), 0);
        assertEq(pool.maxMint(caller), 0);
        assertEq(pool.maxWithdraw(caller), 0);
        assertEq(pool.maxRedeem(caller), 0);
        _approve(_underlying_, caller, _vault_, type(uint256).max);
        assertFalse(this.deposit(caller, bound(amount, 0, _max_deposit(caller))));
        assertFalse(this.mint(caller, bound(amount, 0, _max_mint(caller))));
        assertFalse(this.withdraw(caller, bound(amount, 0, _max_withdraw(caller))));
        assertFalse(this.redeem(caller, bound(amount, 0, _max_redeem(caller))));
    }

    function deposit(address caller, uint256 assets) external returns (bool done) {
        vm.prank(caller);
        (done,) = _vault_.call(abi.encodeCall(IERC4626.deposit, (assets, caller)));
    }

    function mint(address caller, uint256 shares) external returns (bool done) {
        vm.prank(caller);
        (done,) = _vault_.call(abi.encodeCall(IERC4626.mint, (shares, caller)));
    }

    function withdraw(address caller, uint256 assets) external returns (bool done) {
        vm.prank(caller);
        (done,) = _vault_.call(abi.encodeCall(IERC4626.withdraw, (assets, caller, caller)));
    }

    function redeem(address caller, uint256 shares) external returns (bool done) {
        vm.prank(caller);
        (done,) = _vault_.call(abi.encodeCall(IERC4626.redeem, (shares, caller, caller)));
    }
}
