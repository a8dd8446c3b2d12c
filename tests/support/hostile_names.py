"""Names that an app may send as user id and tier: printable, and made to break whatever shows or stores them."""

from typing import Final

HOSTILE_NAMES: Final = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=HYPERLINK(1)",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "'=1+1",
    "'quoted'",
    "\uff1d1+1",
    "{0}",
    "{rules}:tier:day:1:2:x",
    "sg:ws:{1}:events",
    "a/b/../c",
    "%2F%00%0d%0a",
    "a%b",
    "?x=1&y=2#z",
    "a;b,c|d",
    'say "hi", \\n',
    "..a",
    "\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    "\U0001f600\U0001f1e9\U0001f1ea",
    "e\u0301\u0327",
    " leading and trailing ",
    "x" * 256,
    "\u6f22" * 256,
    "null",
    "__proto__",
    "*x",
)
"""Control characters and direction marks are refused at the edge; `tests/unit/test_names.py` proves that."""
