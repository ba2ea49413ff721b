"""Decaying scores in fixed point: integers only, so that every machine and every replay gets the same digits.

A score is kept as one integer S and a base k: its value at t is ``S * 2**-40 * 2**-(t / half_life - k)``.
"""

from decimal import Decimal
from functools import lru_cache
from math import isqrt, log2
from typing import Any

__all__ = ["TOLERANCE", "Decay", "Threshold"]

_ONE = 64
_ROOT = 192
_BYTES = 6
_SCALE = 40
_REBASE_AFTER = 32
_WORD = 60
_WORD_MASK = (1 << _WORD) - 1
_NANO = 10**9
TOLERANCE = Decimal(1).scaleb(-11)
"""What rounding each term to 2**-40 may cost: two weights of 15 must reach 30 at the instant of both."""


@lru_cache(maxsize=1)
def _tables() -> tuple[tuple[int, ...], ...]:
    """For byte i of a 48-bit fraction, the 256 powers of two that its values stand for, times 2**64."""
    root = 2 << _ROOT
    roots: list[int] = []
    for _ in range(8 * _BYTES):
        root = isqrt(root << _ROOT)
        roots.append(root)
    tables = []
    for byte in range(_BYTES):
        powers = [1 << _ROOT] * 256
        for value in range(1, 256):
            low = value & -value
            bit = 8 * byte + 8 - low.bit_length()
            powers[value] = (powers[value ^ low] * roots[bit]) >> _ROOT
        tables.append(tuple(power >> (_ROOT - _ONE) for power in powers))
    return tuple(tables)


def _power_of_two(part: int, whole: int) -> int:
    """2 ** (part / whole), times 2**64, for 0 <= part < whole."""
    fraction = (part << (8 * _BYTES)) // whole
    power = 1 << _ONE
    for byte, table in enumerate(_tables()):
        power = (power * table[(fraction >> (8 * (_BYTES - 1 - byte))) & 255]) >> _ONE
    return power


class Decay:
    """The arithmetic of one half-life (ms). A kept score is ``[base, high, low, latest message id]``."""

    __slots__ = ("half_life",)

    def __init__(self, half_life: int) -> None:
        self.half_life = half_life

    def add(self, kept: list[Any] | None, weight: tuple[int, int], at: int, message_id: str) -> list[Any]:
        """The kept score with one more event of `weight` (a fraction) at the instant `at`, which is not before it."""
        base, part = divmod(at, self.half_life)
        numerator, denominator = weight
        divisor = denominator << (_ONE - _SCALE)
        term = (numerator * _power_of_two(part, self.half_life) + (divisor >> 1)) // divisor
        total = term
        if kept is not None:
            old_base, total = self.unpack(kept)
            gap = base - old_base
            if gap > _REBASE_AFTER:
                total = ((total >> (gap - 1)) + 1) >> 1
            else:
                term <<= gap
                base = old_base
            total += term
        return [base, total >> _WORD, total & _WORD_MASK, message_id]

    @staticmethod
    def unpack(kept: list[Any]) -> tuple[int, int]:
        """The base, and the integer that stands for the score."""
        return kept[0], (kept[1] << _WORD) | kept[2]

    def value(self, kept: list[Any] | None, at: int, cap: Decimal) -> Decimal:
        """The value shown at `at`: between 0 and `cap`, rounded to nine decimals."""
        if kept is None:
            return Decimal(0)
        base, total = self.unpack(kept)
        whole, part = divmod(at, self.half_life)
        if total <= 0 or whole - base > total.bit_length():
            return Decimal(0)
        divisor = _power_of_two(part, self.half_life) << (_SCALE + whole - base)
        rounded = (((total * _NANO) << (_ONE + 1)) // divisor + 1) >> 1
        return min(cap, Decimal(rounded).scaleb(-9))


class Threshold:
    """A value, greater than zero, that a score is compared with."""

    __slots__ = ("_decay", "_denominator", "_log", "_numerator")

    def __init__(self, decay: Decay, threshold: Decimal) -> None:
        self._decay = decay
        lowest = threshold - TOLERANCE
        self._numerator, self._denominator = lowest.as_integer_ratio()
        self._log = log2(lowest)

    def reached(self, kept: list[Any] | None, at: int) -> bool:
        """Whether the score is at least the threshold at `at`."""
        if kept is None:
            return False
        base, total = self._decay.unpack(kept)
        return self._reached(base, total, at)

    def _reached(self, base: int, total: int, at: int) -> bool:
        whole, part = divmod(at, self._decay.half_life)
        shift = whole - base
        if total <= 0 or shift > total.bit_length() + 128:
            return False
        needed = (self._numerator * _power_of_two(part, self._decay.half_life)) << (_SCALE + shift)
        return (total * self._denominator) << _ONE >= needed

    def falls_below(self, kept: list[Any], at: int) -> int:
        """The first instant after `at` at which a score that is reached at `at` is below the threshold."""
        base, total = self._decay.unpack(kept)
        half_life = self._decay.half_life
        lives = log2(total) - _SCALE - self._log + base
        guess = max(at + 1, int(lives * half_life))
        low, high, stride = at, guess, 1
        while self._reached(base, total, high):
            low, high, stride = high, high + stride, stride * 2
        stride = 1
        while high - low > stride and not self._reached(base, total, high - stride):
            high -= stride
            stride *= 2
        low = max(low, high - stride)
        while high - low > 1:
            middle = (low + high) // 2
            if self._reached(base, total, middle):
                low = middle
            else:
                high = middle
        return high
