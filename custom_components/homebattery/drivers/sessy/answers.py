"""The bounds of an answer: nothing else of it is kept, shown or logged.

The largest real answer, a schedule of two days by the quarter, has about 30 KB, 1200
values and 3 levels; the longest text is a host name.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable
import json
import re
from typing import Any, Final

from ..text import printable

MAX_BYTES: Final = 256 * 1024
"""Bytes of a body; what is longer is not read to its end."""
MAX_DEPTH: Final = 16
"""Levels of objects and lists."""
MAX_VALUES: Final = 10_000
"""Values of an answer, on all its levels."""
MAX_TEXT: Final = 200
"""Letters of a text; the rest of a longer one is cut."""
MAX_NUMBER: Final = 1e18
"""The largest number that is a value: all formulas can compute with it."""
MAX_QUOTE: Final = 100
"""Letters of an answer that an error or the log quotes."""

_SHORTEST_SECRET: Final = 4
"""Letters of the shortest password that is redacted: shorter ones are in any text."""
_SEARCHED: Final = 64
"""Letters of a password that are searched for; with a longer one goes all that follows."""
_REDACTED: Final = "***"

type Redact = Callable[[str], str]


def redacting(username: str, passwords: Iterable[str]) -> Redact:
    """Return a function that redacts passwords, and what Basic auth makes of them.

    Also where some of their letters are escaped, as in JSON or in the text of bytes.
    """
    secrets = set()
    for password in passwords:
        if len(password) < _SHORTEST_SECRET:
            continue
        secrets.add(password)
        for credentials in (password, f"{username}:{password}"):
            encoded = b64encode(credentials.encode(errors="replace")).decode()
            secrets.add(encoded.rstrip("="))
    if not secrets:
        return str
    longest_first = sorted(secrets, key=len, reverse=True)
    pattern = re.compile(
        "|".join(map(_any_form_of, longest_first)), re.IGNORECASE | re.DOTALL
    )
    return lambda text: pattern.sub(_REDACTED, text)


def _any_form_of(secret: str) -> str:
    """Return the pattern of a secret, and of what follows one too long to search for."""
    pattern = "".join(map(_any_form, secret[:_SEARCHED]))
    return pattern if len(secret) <= _SEARCHED else f"{pattern}.*"


def _any_form(letter: str) -> str:
    """Return the pattern of a letter in all forms of it that a quoted answer may have."""
    forms = {letter, f"\\{letter}"}
    for each in (letter, letter.lower(), letter.upper()):
        units = each.encode("utf-16-be", "surrogatepass").hex()
        forms.add(re.sub("....", r"\\u\g<0>", units))
    if not letter.isascii():
        octets = letter.encode(errors="replace").hex()
        # That of bytes which are no UTF-8 is a mark in the place of each.
        forms |= {re.sub("..", r"\\x\g<0>", octets), "\N{REPLACEMENT CHARACTER}"}
    longest_first = sorted(forms, key=len, reverse=True)
    return f"(?:{'|'.join(map(re.escape, longest_first))})"


def quoted(value: object, redact: Redact = str) -> str:
    """Return the beginning of a device's value, for an error or the log."""
    return printable(redact(str(value)), MAX_QUOTE)


def decode(text: str, redact: Redact) -> tuple[Any, bool]:
    """Return the JSON value in `text` within bounds, and whether it was altered.

    Texts lose secrets, control characters and what is too long; a number that is none,
    or too large, is None. Raises ValueError for text that is not JSON, or has too many
    values or levels.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("too many levels") from None
    bounded = _bounded(value, redact)
    return bounded, bounded != value


def _bounded(value: Any, redact: Redact) -> Any:
    """Return a JSON value within bounds; raises ValueError as `decode` does."""
    count = 0

    def text_of(text: str) -> str:
        return printable(redact(text), MAX_TEXT)

    def walk(value: Any, level: int) -> Any:
        nonlocal count
        count += 1
        if count > MAX_VALUES or level > MAX_DEPTH:
            raise ValueError("too many values or levels")
        match value:
            case dict():
                return {text_of(key): walk(value[key], level + 1) for key in value}
            case list():
                return [walk(each, level + 1) for each in value]
            case str():
                return text_of(value)
            case int() | float():
                return value if abs(value) <= MAX_NUMBER else None
        return value

    return walk(value, 0)
