"""Price of one GPU for one hour."""

import math
import re
from dataclasses import dataclass
from typing import Self

from lbsim.errors import InputError

__all__ = ["Price"]

_PRICE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(\S+)\s*")


@dataclass(frozen=True)
class Price:
    """Price of one GPU for one hour."""

    amount: float
    currency: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the price in *text*, an amount and a currency, or raise InputError.

        >>> Price.parse("2.50 USD")
        Price(amount=2.5, currency='USD')
        """
        match = _PRICE.fullmatch(text)
        if match is None or match[2][0].isdigit():
            raise InputError(f"--price: '{text}' is not a price per GPU and hour; write it as e.g. '2.50 USD'")
        amount = float(match[1])
        if not 0 < amount < math.inf:
            raise InputError(f"--price: '{text}' must be more than zero and finite; write it as e.g. '2.50 USD'")
        return cls(amount, match[2])
