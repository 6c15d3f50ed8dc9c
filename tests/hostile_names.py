"""Names that are markup, formulas, shell commands or terminal escape sequences to who reads them carelessly."""

import re
import unicodedata

from hypothesis import strategies as st

NAMES = (
    "[/red]x",
    "[x]",
    "[/i]",
    "[link=x]y",
    ":smile:",
    "p5 $x^{$",
    "$\\frac{$",
    "_x",
    "x_{^",
    "=cmd|' /C calc'!A0",
    "@SUM(1)",
    "-x",
    "--help",
    "{0} %s {{ 7 * 7 }}",
    "<b>&amp;</b>",
    "mlp; touch x #",
    "run $(touch x);y",
    "`touch x`",
    "a'b\"c\\d!e",
    "\x1b]0;PWNED\x07\x1b[2Jx",
    "\x9b2Jx",
    "a\nb\r\tc",
    "\u202egnp.exe",
    "\u2028x",
    "a: throughput",
    "日本",
    "\udcff",
    "long " * 1000,
    "x" * 5000,
)

names = st.one_of(
    st.sampled_from(NAMES),
    st.text(st.sampled_from("[]/\\$^_{}<>=+-@:;#%&|`'\"!~*? \t\n\r\x00\x07\x1b\x7f\x9b\u202e\ufffeéx日"), min_size=1),
    st.text(min_size=1),
)

STYLES = re.compile(r"\x1b\[[0-9;]*m")
"""Bold and its end, which rich prints on a terminal."""


def takes_effect(text):
    """Return the characters of *text*, printed lines, that change what a terminal shows besides the text itself."""
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return {one for one in text.replace("\n", "") if unicodedata.category(one) in hidden}
