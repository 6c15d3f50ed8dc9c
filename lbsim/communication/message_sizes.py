"""Message sizes from text: one size, or a geometric sweep."""

from lbsim.errors import InputError
from lbsim.units import DATA

_MOST_SIZES = 10_000


def message_size(text: str) -> float:
    """Return the bytes that *text* means; a whole number alone counts bytes, as nccl-tests has it.

    >>> message_size("100 MiB"), message_size("8")
    (104857600.0, 8.0)
    """
    try:
        size = float(text) if text.strip().isdecimal() else DATA.parse(text)
    except ValueError as error:
        raise InputError(f"size of a message: {error}") from None
    if not 0 < size < float("inf"):
        raise InputError(f"size of a message: '{text}' must be more than zero and finite; write e.g. '100 MiB'")
    return size


def message_sizes(message: str | None, first: str, last: str | None, factor: float) -> tuple[float, ...]:
    """Return the bytes of *message*, or of each size from *first* to *last*, each *factor* times the one before.

    >>> message_sizes("1 KiB", "8", None, 2), message_sizes(None, "8", "64", 2)
    ((1024.0,), (8.0, 16.0, 32.0, 64.0))
    """
    if message is not None and last is None:
        return (message_size(message),)
    if last is None or message is not None:
        raise InputError("write --message '100 MiB' for one all-reduce, or --to '1 GiB' for a sweep from --from")
    if not 1 < factor < float("inf"):
        raise InputError(f"--factor: {factor:g} would never arrive; write a number above 1, e.g. 2")
    size, largest = message_size(first), message_size(last)
    if largest < size:
        raise InputError(f"--to: {DATA.short(largest)} is less than --from, {DATA.short(size)}")
    sizes = []
    while size <= largest * (1 + 1e-9):
        sizes.append(size)
        size *= factor
        if len(sizes) > _MOST_SIZES:
            raise InputError(f"--factor: {factor:g} makes more than {_MOST_SIZES:,} sizes; write a larger one, e.g. 2")
    return tuple(sizes)
