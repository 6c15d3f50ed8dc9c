"""Message sizes from text: one size, or a geometric sweep."""

from lbsim.errors import InputError
from lbsim.units import DATA

__all__ = ["message_size", "message_sizes"]

_MOST_SIZES = 10_000


def message_size(text: str) -> float:
    """Return the bytes of *text*, a size with a unit or an integer number of bytes, as in nccl-tests.

    InputError if the text is not a size, or is not positive and finite.

    >>> message_size("100 MiB"), message_size("8")
    (104857600.0, 8.0)
    """
    try:
        size = float(text) if text.strip().isdecimal() else DATA.parse(text)
    except ValueError as error:
        raise InputError(f"message size: {error}") from None
    if not 0 < size < float("inf"):
        raise InputError(f"message size: '{text}' must be more than zero and finite; write e.g. '100 MiB'")
    return size


def message_sizes(message: str | None, first: str, last: str | None, factor: float) -> tuple[float, ...]:
    """Return the bytes of *message*, or of a geometric sequence from *first* to *last* with ratio *factor*.

    InputError if neither or both are given, or if the sequence is empty, endless or longer than 10,000.

    >>> message_sizes("1 KiB", "8", None, 2), message_sizes(None, "8", "64", 2)
    ((1024.0,), (8.0, 16.0, 32.0, 64.0))
    """
    if message is not None and last is None:
        return (message_size(message),)
    if last is None or message is not None:
        raise InputError("use either --message '100 MiB' for one size, or --to '1 GiB' for a sweep from --from")
    if not 1 < factor < float("inf"):
        raise InputError(f"--factor: {factor:g} must be finite and above 1, e.g. 2")
    size, largest = message_size(first), message_size(last)
    if largest < size:
        raise InputError(f"--to: {DATA.short(largest)} is less than --from, {DATA.short(size)}")
    sizes = []
    while size <= largest * (1 + 1e-9):
        sizes.append(size)
        size *= factor
        if len(sizes) > _MOST_SIZES:
            raise InputError(f"--factor: {factor:g} gives more than {_MOST_SIZES:,} sizes; use a larger factor, e.g. 2")
    return tuple(sizes)
