"""Texts that a device sends: bounded, and without control characters."""

from typing import Final

LONGEST_TEXT: Final = 500
"""Characters of an error's text."""


def printable(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text with a space for each control character, cut if it is longer.

    So that a device can neither add lines to a log nor fill it.
    """
    if len(text) > longest:
        text = f"{text[: longest - 1]}…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else " " for each in text)
