"""Escapes of names and file names for terminals, shells and spreadsheets.

A name in a profile, a case or a run folder is the user's text, or that of the author of a file that the user was given.
It may hold terminal escape sequences, shell commands and spreadsheet formulas; none of them may take effect.
"""

import re
import shlex
from collections.abc import Iterable

__all__ = ["command_line", "escaped", "option", "shortened", "spreadsheet_cell"]

_ANSI_C_UNQUOTED = frozenset("\\'!")
"""Printable characters that end or change an ANSI-C quotation of a shell, or that its history expands."""
_FORMULA = tuple("=+-@＝＋－＠")
"""First characters of a formula; the last four are the full-width forms, which Excel treats alike."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?%?")


def escaped(text: str) -> str:
    r"""Return *text* in one line, with a backslash escape for each character that is not printable.

    These are control characters, line breaks, marks that change the direction of text, characters without width, and
    the surrogates that stand for bytes of a file name which are not UTF-8.

    >>> print(escaped("a name\n\x1b]0;title\x07"))
    a name\n\x1b]0;title\x07
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shortened(text: str, most: int) -> str:
    """Return *text* in at most *most* characters, with an ellipsis for what its middle lacks.

    >>> shortened("resnet50", 8), shortened("resnet50-with-a-long-name", 12)
    ('resnet50', 'resnet…-name')
    """
    if len(text) <= most:
        return text
    head = most // 2
    return f"{text[:head]}…{text[len(text) - (most - head - 1) :]}"


def command_line(words: Iterable[str]) -> str:
    r"""Return *words* as one line of a shell, quoted where necessary.

    Any POSIX shell accepts printable words. Others are in ANSI-C quotes, for bash, zsh, ksh, and POSIX since 2024.

    >>> print(command_line(["lbsim", "predict", "--model", "a b; rm c", "--cluster", "\x1b[2J"]))
    lbsim predict --model 'a b; rm c' --cluster $'\033[2J'
    """
    return " ".join(shlex.quote(word) if word.isprintable() else _ansi_c_quoted(word) for word in words)


def _ansi_c_quoted(word: str) -> str:
    return f"$'{''.join(map(_ansi_c_character, word))}'"


def _ansi_c_character(character: str) -> str:
    if character.isprintable() and character not in _ANSI_C_UNQUOTED:
        return character
    is_byte = "\udc80" <= character <= "\udcff"
    octets = character.encode("utf-8", "surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in octets)


def option(name: str, value: str) -> list[str]:
    """Return the words of an option with a value; one word if the value looks like an option itself.

    >>> option("--model", "resnet50"), option("--model", "--help")
    (['--model', 'resnet50'], ['--model=--help'])
    """
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def spreadsheet_cell(text: str) -> str:
    """Return *text* for a cell of a CSV file, with an apostrophe before what a spreadsheet would run as a formula.

    A number stays a number. Control characters are escaped, as in `escaped`.

    OWASP, "CSV injection," https://owasp.org/www-community/attacks/CSV_Injection.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("-1.5e3"), spreadsheet_cell("resnet50")
    ("'=1+1", '-1.5e3', 'resnet50')
    """
    text = escaped(text)
    is_formula = text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if is_formula else text
