// SPDX-License-Identifier: AGPL-3.0-only
pragma solidity ^0.8.30;

// The campaign of rivals/vault for Foundry: the model of rivals/vault/model.py as a ghost, and the
// mix of rivals/vault/generator.py as a handler. One call of the handler is one step on the vault,
// after which verdict, reason, return value and fourteen words of state are compared.

interface Vm {
    function prank(address) external;
    function warp(uint256) external;
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function envBytes(string calldata) external view returns (bytes memory);
}

interface IVault {
    function deposit(uint256) external returns (uint256);
    function withdraw(uint256) external returns (uint256);
    function fund(uint256) external returns (uint256);
    function set_price(uint256) external;
    function open(uint256, uint256, bool) external returns (uint256);
    function close(uint256) external returns (uint256);
    function liquidate(uint256) external returns (uint256);
    function state(address, uint256) external view returns (uint256[14] memory);
}

contract Ghost {
    uint256 constant BALANCE_LIMIT = 10 ** 12;
    uint256 constant MIN_MARGIN = 10 ** 6;
    uint256 constant MAX_LEVERAGE = 20;
    uint256 constant CAP = 4 * 10 ** 12;
    uint256 constant MAX_AGE = 3_600;
    uint256 constant MAX_JUMP_BPS = 1_000;
    uint256 constant FEE_BPS = 10;
    uint256 constant MAINTENANCE_BPS = 100;
    uint256 constant REWARD_BPS = 50;
    uint256 constant HOLDING_RATE = 10 ** 9;
    uint256 constant WAD = 10 ** 18;
    uint256 constant START = 1_577_836_800;
    uint256 constant START_PRICE = 1_000 * WAD;
    address constant ORACLE = address(0x2000);

    struct Position {
        address owner;
        uint256 margin;
        uint256 size;
        uint256 entry;
        uint256 opened_at;
        bool is_long;
    }

    uint256 time = START;
    uint256 price = START_PRICE;
    uint256 priced_at = START;
    uint256 pool;
    uint256 fees;
    uint256 open_interest;
    uint256 held;
    uint256 next_id = 1;
    mapping(address => uint256) balances;
    mapping(uint256 => Position) positions;

    // Each gives the reason of the revert, or "" and the return value.

    function _deposit(address user, uint256 amount) internal returns (string memory, uint256) {
        if (amount == 0) return ("zero amount", 0);
        if (balances[user] + amount > BALANCE_LIMIT) return ("over limit", 0);
        balances[user] += amount;
        held += amount;
        return ("", balances[user]);
    }

    function _withdraw(address user, uint256 amount) internal returns (string memory, uint256) {
        if (amount == 0) return ("zero amount", 0);
        if (amount > balances[user]) return ("balance too low", 0);
        balances[user] -= amount;
        held -= amount;
        return ("", balances[user]);
    }

    function _fund(address user, uint256 amount) internal returns (string memory, uint256) {
        if (amount > balances[user]) return ("balance too low", 0);
        balances[user] -= amount;
        pool += amount;
        return ("", pool);
    }

    function _setPrice(address user, uint256 value) internal returns (string memory, uint256) {
        if (user != ORACLE) return ("not oracle", 0);
        if (_distance(value, price) * 10_000 > price * MAX_JUMP_BPS) return ("price jump", 0);
        price = value;
        priced_at = time;
        return ("", 0);
    }

    function _open(address user, uint256 margin, uint256 size, bool is_long)
        internal
        returns (string memory, uint256)
    {
        if (time > priced_at + MAX_AGE) return ("price is stale", 0);
        if (margin < MIN_MARGIN) return ("margin too small", 0);
        if (size > margin * MAX_LEVERAGE) return ("leverage too high", 0);
        if (open_interest + size > CAP) return ("over cap", 0);
        uint256 fee = _partUp(size, FEE_BPS);
        if (margin + fee > balances[user]) return ("balance too low", 0);
        balances[user] -= margin + fee;
        fees += fee;
        open_interest += size;
        positions[next_id] = Position(user, margin, size, price, time, is_long);
        return ("", next_id++);
    }

    function _close(address user, uint256 id) internal returns (string memory, uint256) {
        Position memory position = positions[id];
        if (position.owner == address(0)) return ("no position", 0);
        if (position.owner != user) return ("not owner", 0);
        if (time > priced_at + MAX_AGE) return ("price is stale", 0);
        uint256 payout = _settle(id, position);
        balances[user] += payout;
        return ("", payout);
    }

    function _liquidate(address user, uint256 id) internal returns (string memory, uint256) {
        Position memory position = positions[id];
        if (position.owner == address(0)) return ("no position", 0);
        if (position.owner == user) return ("own position", 0);
        if (time > priced_at + MAX_AGE) return ("price is stale", 0);
        (uint256 profit, uint256 owed) = _profitAndOwed(position, time);
        if (position.margin + profit >= owed + _partUp(position.size, MAINTENANCE_BPS)) {
            return ("healthy", 0);
        }
        uint256 left = _settle(id, position);
        uint256 reward = position.size * REWARD_BPS / 10_000;
        if (reward > left) reward = left;
        balances[position.owner] += left - reward;
        balances[user] += reward;
        return ("", reward);
    }

    function _settle(uint256 id, Position memory position) internal returns (uint256) {
        (uint256 profit, uint256 owed) = _profitAndOwed(position, time);
        if (profit > pool) profit = pool;
        uint256 collateral = position.margin + profit;
        uint256 paid = owed < collateral ? owed : collateral;
        pool = pool - profit + paid;
        open_interest -= position.size;
        delete positions[id];
        return collateral - paid;
    }

    function _profitAndOwed(Position memory position, uint256 at)
        internal
        view
        returns (uint256, uint256)
    {
        uint256 elapsed = at - position.opened_at;
        uint256 fee = (position.size * elapsed * HOLDING_RATE + WAD - 1) / WAD;
        uint256 change = position.size * _distance(price, position.entry);
        if ((price > position.entry) == position.is_long) return (change / position.entry, fee);
        return (0, fee + (change + position.entry - 1) / position.entry);
    }

    function _partUp(uint256 amount, uint256 bps) internal pure returns (uint256) {
        return (amount * bps + 9_999) / 10_000;
    }

    function _distance(uint256 a, uint256 b) internal pure returns (uint256) {
        return a > b ? a - b : b - a;
    }
}

contract Handler is Ghost {
    enum Action {
        Deposit,
        Withdraw,
        Fund,
        SetPrice,
        Open,
        Close,
        Liquidate
    }

    struct Step {
        Action action;
        address user;
        uint256 a;
        uint256 b;
        bool c;
        uint256 at;
    }

    Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 constant WILD = 16;
    uint256 constant BLOCK = 16;
    IVault immutable vault;
    bool immutable aimed;
    uint256[] alive;
    Step[] then_; // second halves of aims

    constructor(IVault vault_, bool aimed_) {
        vault = vault_;
        aimed = aimed_;
        vm.recordLogs();
    }

    // What an aim began comes first. `wait` decides whether a block begins, and when.
    modifier first() {
        if (then_.length > 0) {
            Step memory step = then_[then_.length - 1];
            then_.pop();
            _run(step);
        } else {
            _;
        }
    }

    /*FUNCTIONS*/

    function _plainDeposit(uint256 who, uint256 amount, uint256 wait) internal first {
        _do(Action.Deposit, _user(who), _amount(amount), 0, false, _at(wait));
    }

    function _plainWithdraw(uint256 who, uint256 amount, uint256 wild, uint256 wait)
        internal
        first
    {
        address user = _user(who);
        _do(Action.Withdraw, user, _share(amount, balances[user], wild), 0, false, _at(wait));
    }

    function _plainFund(uint256 who, uint256 amount, uint256 wild, uint256 wait) internal first {
        address user = _user(who);
        _do(Action.Fund, user, _share(amount, balances[user], wild) / 4, 0, false, _at(wait));
    }

    function _plainSetPrice(uint256 change, bool up, uint256 wild, uint256 wait) internal first {
        change = wild % 8 == 0 ? change % 1_001 : change % 301;
        if (8 * price <= START_PRICE || price >= 8 * START_PRICE) up = price < START_PRICE;
        uint256 move = price * change / 10_000;
        address user = wild % WILD == 1 ? _user(wild) : ORACLE;
        _do(Action.SetPrice, user, up ? price + move : price - move, 0, false, _at(wait));
    }

    function _plainOpen(
        uint256 who,
        uint256 share,
        uint256 leverage,
        bool is_long,
        uint256 wild,
        uint256 wait
    ) internal first {
        address user = _user(who);
        uint256 margin = _share(share, balances[user], wild) / 4;
        uint256 most = margin * MAX_LEVERAGE;
        if (wild % 4 == 1) most = most * 105 / 100;
        _do(Action.Open, user, margin, leverage % (most + 1), is_long, _at(wait));
    }

    function _plainClose(uint256 which, uint256 wild, uint256 wait) internal first {
        (uint256 id, address owner) = _position(which, wild);
        _do(Action.Close, wild % WILD == 1 ? _user(which) : owner, id, 0, false, _at(wait));
    }

    function _plainLiquidate(uint256 which, uint256 who, uint256 wild, uint256 wait)
        internal
        first
    {
        (uint256 id, address owner) = _position(which, wild);
        for (uint256 i = 1; i < 4; i++) {
            // prefer one that is due
            if (_due(id, _at(wait))) break;
            (id, owner) = _position(which >> (8 * i), wild);
        }
        address keeper = wild % WILD == 1 ? owner : _other(owner, who);
        _do(Action.Liquidate, keeper, id, 0, false, _at(wait));
    }

    function _plainAim(uint256 which, uint256 who, uint256 off, uint256 amount, uint256 wait)
        internal
        first
    {
        if (!aimed) return _plainOpen(who, amount, amount >> 64, off % 2 == 0, which, wait);
        uint256 at = _at(wait);
        address user = _user(who);
        bool is_long = amount % 2 == 0;
        off = off % 2;
        if (which % 8 == 0) {
            _aimLiquidation(amount, who, off, at);
        } else if (which % 8 == 1) {
            uint256 margin = _share(amount, balances[user], 1) / 2;
            _do(Action.Open, user, margin, margin * MAX_LEVERAGE + off, is_long, at);
        } else if (which % 8 == 2) {
            _aimCap(user, CAP - open_interest + off, is_long, at);
        } else if (which % 8 == 3) {
            (uint256 id, address owner) = _position(amount, 1);
            uint256 oldest = priced_at + MAX_AGE;
            if (oldest < at) oldest = at;
            oldest += off;
            then_.push(Step(Action.SetPrice, ORACLE, price, 0, false, oldest));
            _do(Action.Close, owner, id, 0, false, oldest);
        } else if (which % 8 == 4) {
            _do(Action.Withdraw, user, balances[user] + off, 0, false, at);
        } else if (which % 8 == 5) {
            uint256 move = price * MAX_JUMP_BPS / 10_000 + off;
            _do(Action.SetPrice, ORACLE, is_long ? price + move : price - move, 0, false, at);
        } else if (which % 8 == 6) {
            _do(Action.Open, user, MIN_MARGIN - off, MIN_MARGIN - off, is_long, at);
        } else {
            uint256 missing = BALANCE_LIMIT > balances[user] ? BALANCE_LIMIT - balances[user] : 0;
            _do(Action.Deposit, user, missing + off, 0, false, at);
        }
    }

    function _aimLiquidation(uint256 which, uint256 who, uint256 off, uint256 at) internal {
        (uint256 id, address owner) = _position(which, 1);
        Position memory position = positions[id];
        uint256 target = price;
        if (position.size > 0) {
            uint256 elapsed = at - position.opened_at;
            uint256 fixed_ = (position.size * elapsed * HOLDING_RATE + WAD - 1) / WAD
                + _partUp(position.size, MAINTENANCE_BPS);
            if (fixed_ <= position.margin + off) {
                uint256 move =
                    (position.margin + off - fixed_) * position.entry / position.size;
                if (!position.is_long) target = position.entry + move;
                else target = move > position.entry ? 0 : position.entry - move;
            }
        }
        if (target == price || _distance(target, price) * 10_000 > price * MAX_JUMP_BPS) {
            target = price + price * (which % 301) / 10_000;
        } else {
            then_.push(Step(Action.Liquidate, _other(owner, who), id, 0, false, at));
        }
        _do(Action.SetPrice, ORACLE, target, 0, false, at);
    }

    function _aimCap(address user, uint256 size, bool is_long, uint256 at) internal {
        uint256 margin = (size + MAX_LEVERAGE - 1) / MAX_LEVERAGE;
        if (margin < MIN_MARGIN) margin = MIN_MARGIN;
        uint256 needed = margin + _partUp(size, FEE_BPS);
        then_.push(Step(Action.Close, user, next_id, 0, false, at));
        if (needed > balances[user]) {
            then_.push(Step(Action.Open, user, margin, size, is_long, at));
            _do(Action.Deposit, user, needed - balances[user], 0, false, at);
        } else {
            _do(Action.Open, user, margin, size, is_long, at);
        }
    }

    // -- one step --------------------------------------------------------------------------------

    function _do(Action action, address user, uint256 a, uint256 b, bool c, uint256 at) internal {
        _run(Step(action, user, a, b, c, at));
    }

    function _run(Step memory step) internal {
        time = step.at;
        vm.warp(step.at);
        string memory reason;
        uint256 value;
        uint256 id = next_id - 1;
        bytes memory data;
        if (step.action == Action.Deposit) {
            (reason, value) = _deposit(step.user, step.a);
            data = abi.encodeCall(IVault.deposit, (step.a));
        } else if (step.action == Action.Withdraw) {
            (reason, value) = _withdraw(step.user, step.a);
            data = abi.encodeCall(IVault.withdraw, (step.a));
        } else if (step.action == Action.Fund) {
            (reason, value) = _fund(step.user, step.a);
            data = abi.encodeCall(IVault.fund, (step.a));
        } else if (step.action == Action.SetPrice) {
            (reason, value) = _setPrice(step.user, step.a);
            data = abi.encodeCall(IVault.set_price, (step.a));
        } else if (step.action == Action.Open) {
            (reason, value) = _open(step.user, step.a, step.b, step.c);
            data = abi.encodeCall(IVault.open, (step.a, step.b, step.c));
            if (bytes(reason).length == 0) {
                id = value;
                alive.push(id);
            }
        } else {
            id = step.a;
            bool close = step.action == Action.Close;
            (reason, value) = close ? _close(step.user, id) : _liquidate(step.user, id);
            data = close ? abi.encodeCall(IVault.close, (id)) : abi.encodeCall(IVault.liquidate, (id));
        }
        vm.prank(step.user);
        (bool ok, bytes memory output) = address(vault).call(data);
        bytes memory wanted;
        if (bytes(reason).length > 0) {
            require(!ok, "the vault succeeds, the ghost reverts");
            wanted = abi.encodeWithSignature("Error(string)", reason);
        } else {
            require(ok, "the vault reverts, the ghost succeeds");
            if (step.action != Action.SetPrice) wanted = abi.encode(value);
            _compareEvent(step, value);
        }
        require(keccak256(output) == keccak256(wanted), "reason or return value differs");
        _compare(vault.state(step.user, id), step.user, positions[id]);
    }

    event Deposited(address indexed user, uint256 amount);
    event Withdrawn(address indexed user, uint256 amount);
    event Funded(address indexed user, uint256 amount);
    event PriceSet(uint256 price);
    event Opened(
        uint256 indexed id, address indexed owner, uint256 margin, uint256 size, bool is_long
    );
    event Closed(uint256 indexed id, uint256 payout);
    event Liquidated(uint256 indexed id, address indexed keeper, uint256 reward);

    function _compareEvent(Step memory step, uint256 value) internal {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        require(logs.length == 1 && logs[0].emitter == address(vault), "event missing");
        bytes32 user = bytes32(uint256(uint160(step.user)));
        bytes memory topics;
        bytes memory data = abi.encode(step.a);
        if (step.action == Action.Deposit) {
            topics = abi.encodePacked(Deposited.selector, user);
        } else if (step.action == Action.Withdraw) {
            topics = abi.encodePacked(Withdrawn.selector, user);
        } else if (step.action == Action.Fund) {
            topics = abi.encodePacked(Funded.selector, user);
        } else if (step.action == Action.SetPrice) {
            topics = abi.encodePacked(PriceSet.selector);
        } else if (step.action == Action.Open) {
            topics = abi.encodePacked(Opened.selector, value, user);
            data = abi.encode(step.a, step.b, step.c);
        } else {
            data = abi.encode(value);
            topics = step.action == Action.Close
                ? abi.encodePacked(Closed.selector, step.a)
                : abi.encodePacked(Liquidated.selector, step.a, user);
        }
        require(
            keccak256(abi.encodePacked(logs[0].topics)) == keccak256(topics)
                && keccak256(logs[0].data) == keccak256(data),
            "event differs"
        );
    }

    function _compare(uint256[14] memory got, address user, Position memory position)
        internal
        view
    {
        require(
            got[0] == price && got[1] == priced_at && got[2] == pool && got[3] == fees
                && got[4] == open_interest && got[5] == held && got[6] == next_id
                && got[7] == balances[user],
            "state differs"
        );
        require(
            got[8] == uint256(uint160(position.owner)) && got[9] == position.margin
                && got[10] == position.size && got[11] == position.entry
                && got[12] == position.opened_at && got[13] == (position.is_long ? 1 : 0),
            "position differs"
        );
    }

    // -- draws -----------------------------------------------------------------------------------

    function _at(uint256 wait) internal view returns (uint256) {
        if ((wait / 8) % BLOCK != 0) return time;
        uint256 pick = wait % 8;
        if (pick == 0) return time + 1;
        return time + (pick < 4 ? 12 : pick < 5 ? 60 : pick < 7 ? 600 : 1_800);
    }

    function _user(uint256 who) internal pure returns (address) {
        return address(uint160(0x1000 + who % 8));
    }

    function _other(address user, uint256 who) internal pure returns (address) {
        return address(uint160(0x1000 + (uint160(user) - 0x1000 + 1 + who % 7) % 8));
    }

    // Each order of magnitude alike, up to ten thousand million.
    function _amount(uint256 amount) internal pure returns (uint256) {
        return (amount / 10) % (10 ** (1 + amount % 10));
    }

    function _share(uint256 share, uint256 balance, uint256 wild) internal pure returns (uint256) {
        return wild % WILD == 0 ? _amount(share) : share % (balance + 1);
    }

    // An open position and its owner; now and then, or without one, any number.
    function _position(uint256 which, uint256 wild) internal returns (uint256, address) {
        while (alive.length > 0 && wild % WILD != 0) {
            uint256 index = which % alive.length;
            uint256 id = alive[index];
            if (positions[id].owner != address(0)) return (id, positions[id].owner);
            alive[index] = alive[alive.length - 1];
            alive.pop();
        }
        return (which % (next_id + 2), _user(which));
    }

    function _due(uint256 id, uint256 at) internal view returns (bool) {
        Position memory position = positions[id];
        if (position.owner == address(0)) return false;
        (uint256 profit, uint256 owed) = _profitAndOwed(position, at);
        return position.margin + profit < owed + position.size / 80;
    }
}

contract Campaign {
    Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    Handler handler;

    function setUp() public {
        vm.warp(1_577_836_800);
        bytes memory initcode = vm.envBytes("VAULT_INITCODE");
        address vault;
        assembly {
            vault := create(0, add(initcode, 32), mload(initcode))
        }
        require(vault != address(0), "the vault could not be deployed");
        handler = new Handler(IVault(vault), vm.envBytes("VAULT_AIMED")[0] != 0);
    }

    function targetContracts() public view returns (address[] memory contracts) {
        contracts = new address[](1);
        contracts[0] = address(handler);
    }

    // The handler reverts at a difference, and a revert of the handler fails the campaign.
    function invariant_vault_is_its_ghost() public view {}
}
