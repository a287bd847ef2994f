"""The compiled code, opcode by opcode, on words that stand for every value of a range.

A word is held as an integer in [-2**255, 2**256) that is congruent to it modulo 2**256: which of
two it is only matters to what compares, divides or shifts it. An opcode or a use of one that pure
arithmetic does not need is refused, never guessed. On plain words the machine is an ordinary one,
and test_small_domains.py holds it against revm.
"""

from symbolic import (
    Number,
    Whole,
    bounds,
    branch,
    equate,
    exact_quotient,
    fresh,
    pin,
    same,
)

WORD = 2**256
SIGN = 2**255


class Unsupported(Exception):
    """The code does something this machine has no meaning for."""


class _Selector:
    """The word at the start of the calldata: only its selector may be looked at."""

    def __init__(self, selector: int) -> None:
        self.selector = selector


def run(code: bytes, selector: bytes, words: list[Number]) -> Number | None:
    """The word that a call returns, or None where it reverts."""
    wraps.clear()
    return _Machine(code, int.from_bytes(selector, "big"), words).run()


# Sums, differences and products of the last run that left [-2**255, 2**256).
wraps: list[Number] = []


def unsigned(word: Number) -> Number:
    """The integer that a word means where it is taken as unsigned."""
    return word + WORD if word < 0 else word


def signed(word: Number) -> Number:
    """The integer that a word means where it is taken as signed."""
    return word - WORD if word >= SIGN else word


def reduced(number: Number) -> Number:
    """An integer as the machine keeps it."""
    if branch(number >= WORD):
        wraps.append(number)
        return number - WORD if bounds(number)[1] < 2 * WORD else _wrapped(number)
    if branch(number < -SIGN):
        wraps.append(number)
        return number + WORD if bounds(number)[0] >= -WORD - SIGN else _wrapped(number)
    return number


def kept(bits: int) -> int:
    """The result of an operation on bits, which cannot wrap."""
    return bits + WORD if bits < -SIGN else bits


def _wrapped(number: Number) -> Number:
    if isinstance(number, int):
        return number % WORD
    rest = fresh("wrapped", 0, WORD - 1)
    low, high = bounds(number)
    turns = fresh("turns", low // WORD, high // WORD)
    equate(number, turns * WORD + rest)
    return rest


class _Machine:
    def __init__(self, code: bytes, selector: int, words: list[Number]) -> None:
        self.code = code
        self.selector = selector
        self.words = words
        self.stack: list[Number | _Selector] = []
        self.memory: dict[int, Number] = {}  # words by offset
        self.bytes = bytearray(4096)
        self.choices: dict[str, tuple[Number, Number]] = {}

    def run(self) -> Number | None:
        position = 0
        while True:
            opcode = self.code[position]
            position += 1
            if 0x5F <= opcode <= 0x7F:  # PUSH
                length = opcode - 0x5F
                # A literal is more often a negative number than one above 2**255.
                literal = int.from_bytes(self.code[position : position + length], "big")
                self.stack.append(literal - WORD if literal > SIGN else literal)
                position += length
            elif 0x80 <= opcode <= 0x8F:  # DUP
                self.stack.append(self.stack[0x7F - opcode])
            elif 0x90 <= opcode <= 0x9F:  # SWAP
                other = 0x8E - opcode
                self.stack[-1], self.stack[other] = self.stack[other], self.stack[-1]
            elif opcode == 0x50:  # POP
                self.stack.pop()
            elif opcode == 0x56:  # JUMP
                position = self.target()
            elif opcode == 0x57:  # JUMPI
                target = self.target()
                if branch(self.pop() != 0):
                    position = target
            elif opcode == 0xF3:  # RETURN
                offset, length = pin(self.pop()), pin(self.pop())
                if length != 32:
                    raise Unsupported("more or less than one word returned")
                return self.load(offset)
            elif opcode == 0xFD:  # REVERT
                return None
            elif opcode == 0x5B:  # JUMPDEST
                pass
            else:
                self.operate(opcode)

    def pop(self) -> Number:
        value = self.stack.pop()
        if isinstance(value, _Selector):
            raise Unsupported("the head of the calldata used as a number")
        return value

    def target(self) -> int:
        target = self.pop()
        if not isinstance(target, int) or self.code[target] != 0x5B:
            raise Unsupported("a jump to somewhere")
        return target

    def operate(self, opcode: int) -> None:
        match opcode:
            case 0x34:  # CALLVALUE
                result: Number | _Selector = 0
            case 0x35:  # CALLDATALOAD
                result = self.calldata(pin(self.pop()))
            case 0x36:  # CALLDATASIZE
                result = 4 + 32 * len(self.words)
            case 0x37:  # CALLDATACOPY
                to, start, length = (pin(self.pop()) for _ in range(3))
                for offset in range(0, length, 32):
                    self.store(to + offset, self.argument(start + offset))
                return
            case 0x39:  # CODECOPY
                to, start, length = (pin(self.pop()) for _ in range(3))
                self.copy(to, self.code[start : start + length].ljust(length, b"\0"))
                return
            case 0x51:  # MLOAD
                result = self.load(pin(self.pop()))
            case 0x52:  # MSTORE
                self.store(pin(self.pop()), self.pop())
                return
            case 0x5E:  # MCOPY
                to, start, length = (pin(self.pop()) for _ in range(3))
                copied = [self.load(start + offset) for offset in range(0, length, 32)]
                for index, value in enumerate(copied):
                    self.store(to + 32 * index, value)
                return
            case 0x1C if isinstance(self.stack[-2], _Selector):  # SHR
                shift, head = self.pop(), self.stack.pop()
                if shift != 224:
                    raise Unsupported("part of the selector")
                result = head.selector
            case 0x15 | 0x19:  # ISZERO, NOT
                value = self.pop()
                result = int(branch(value == 0)) if opcode == 0x15 else reduced(-1 - value)
            case _:
                result = self.binary(opcode, self.pop(), self.pop())
        self.stack.append(result)

    def binary(self, opcode: int, a: Number, b: Number) -> Number:
        match opcode:
            case 0x01:  # ADD
                return reduced(a + b)
            case 0x02:  # MUL
                return reduced(a * b)
            case 0x03:  # SUB
                return reduced(a - b)
            case 0x04:  # DIV
                return 0 if branch(b == 0) else unsigned(a) // unsigned(b)
            case 0x05:  # SDIV
                return 0 if branch(b == 0) else self.divide(signed(a), signed(b))
            case 0x06:  # MOD
                return 0 if branch(b == 0) else unsigned(a) % unsigned(b)
            case 0x10:  # LT
                return int(branch(unsigned(a) < unsigned(b)))
            case 0x11:  # GT
                return int(branch(unsigned(a) > unsigned(b)))
            case 0x12:  # SLT
                return int(branch(signed(a) < signed(b)))
            case 0x13:  # SGT
                return int(branch(signed(a) > signed(b)))
            case 0x14:  # EQ
                return int(self.equal(a, b))
            case 0x16:  # AND
                return unsigned(a) & unsigned(b)
            case 0x17 if isinstance(a, int) and isinstance(b, int):  # OR
                return kept(a | b)
            case 0x18:  # XOR
                return self.differ(a, b)
            case 0x1B:  # SHL
                return reduced(b << a) if branch(unsigned(a) < 256) else 0
            case 0x1C:  # SHR
                return unsigned(b) >> a if branch(unsigned(a) < 256) else 0
        raise Unsupported(f"opcode {opcode:#x}")

    def divide(self, a: Number, b: Number) -> Number:
        """Towards zero, for b other than zero."""
        known = exact_quotient(a, b)
        if known is not None:
            return reduced(known)
        is_negative = branch(a < 0) != branch(b < 0)
        quotient = abs(a) // abs(b)
        return reduced(-quotient if is_negative else quotient)

    def equal(self, a: Number, b: Number) -> bool:
        if same(a, b):
            return True
        # Either both as signed or both as unsigned integers, whichever they are already.
        if all(bounds(x)[1] < SIGN for x in (a, b)):
            return branch(a == b)
        return branch(unsigned(a) == unsigned(b))

    def differ(self, a: Number, b: Number) -> Number:
        """XOR, and the second half of its use to choose one of two: a ^ (a ^ b) is b."""
        if isinstance(a, int) and isinstance(b, int):
            return kept(a ^ b)
        if same(a, 0) or same(b, 0):
            return a + b
        for whole, other in ((a, b), (b, a)):
            if isinstance(whole, Whole) and whole.key in self.choices:
                for index, known in enumerate(self.choices[whole.key]):
                    if same(known, other):
                        return self.choices[whole.key][1 - index]
        if self.equal(a, b):
            return 0
        result = unsigned(a) ^ unsigned(b)
        if isinstance(result, Whole):
            self.choices[result.key] = (a, b)
        return result

    def calldata(self, offset: int) -> Number | _Selector:
        return _Selector(self.selector) if offset == 0 else self.argument(offset)

    def argument(self, offset: int) -> Number:
        index, rest = divmod(offset - 4, 32)
        if rest or not 0 <= index < len(self.words):
            raise Unsupported(f"calldata at {offset}")
        return self.words[index]

    # Memory: bytes copied from the code, and words laid over them

    def load(self, offset: int) -> Number:
        if offset in self.memory:
            return self.memory[offset]
        self.refuse_parts(offset, 32)
        return int.from_bytes(self.bytes[offset : offset + 32], "big")

    def store(self, offset: int, value: Number) -> None:
        self.memory.pop(offset, None)
        self.refuse_parts(offset, 32)
        self.memory[offset] = value

    def copy(self, offset: int, data: bytes) -> None:
        self.refuse_parts(offset, len(data))
        if offset + len(data) > len(self.bytes):
            raise Unsupported("far memory")
        self.bytes[offset : offset + len(data)] = data

    def refuse_parts(self, offset: int, length: int) -> None:
        if any(other - length < offset < other + 32 for other in self.memory):
            raise Unsupported("part of a word in memory")
