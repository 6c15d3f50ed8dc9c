"""Ways in which a file is damaged: cut off, with bytes changed, or with other values where numbers and words stand."""

import random
import re

WILD = (
    "NaN", "-1", "0", "1e308", "-Infinity", "1e-320", "9" * 400, "null", "true", '"text"', "[]", "{}", "[" * 5000,
    '{"a":' * 3000, "1e999999", "0x10", "\u0000", "-0.0", "1.5e9", '"NaN"', "[[1]]", "2", '""', "99999999999999999999",
)  # fmt: skip
_TOKEN = re.compile(r'"[^"\n]*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[A-Za-z_.]+')


def mutated(text: str, chance: random.Random) -> bytes:
    """Return *text*, damaged in one to three ways."""
    raw = text.encode()
    for _ in range(chance.randint(1, 3)):
        raw = chance.choice((_cut, _flipped, _replaced, _replaced, _replaced, _repeated, _without))(raw, chance)
    return raw


def _cut(raw: bytes, chance: random.Random) -> bytes:
    return raw[: chance.randrange(len(raw) + 1)]


def _flipped(raw: bytes, chance: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(chance.randint(1, 8)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _replaced(raw: bytes, chance: random.Random) -> bytes:
    text = raw.decode("utf-8", "replace")
    begin = chance.randrange(len(text) + 1)
    token = _TOKEN.search(text, begin) or _TOKEN.search(text)
    if token is None:
        return raw
    return (text[: token.start()] + chance.choice(WILD) + text[token.end() :]).encode("utf-8", "replace")


def _repeated(raw: bytes, chance: random.Random) -> bytes:
    begin, length = chance.randrange(len(raw) + 1), chance.randint(1, 200)
    return raw[: begin + length] + raw[begin:]


def _without(raw: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(raw) + 1)
    return raw[:begin] + raw[begin + chance.randint(1, 200) :]
