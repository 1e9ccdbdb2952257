"""Values for property tests: any that a device, a file or a user may give."""

from collections.abc import Mapping
import copy
import json
from typing import Any, Final

from hypothesis import settings, strategies as st

_EDGES: Final = (0, 1, 2, 0x7FFE, 0x7FFF, 0x8000, 0xFF00, 0xFFFE, 0xFFFF)
WORDS: Final = st.sampled_from(_EDGES) | st.integers(0, 0xFFFF)
"""Words of a register, those at the edges and most sentinels more often."""

NUMBERS: Final[st.SearchStrategy[float]] = st.one_of(
    st.integers(-10, 10_000),
    st.integers(),
    st.floats(),
    st.sampled_from([0.5, -0.0, 1e300, -1e300, 1e-300, 2**31, 2**53 + 1, 2**63, 2**64]),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), 10**400, -(10**400)]),
)
"""Numbers; also those that are none, or too large for a float."""

POWERS: Final = st.floats() | st.integers(-(10**18), 10**18)
"""Powers, W, and currents, A; also those that there cannot be."""

_ODD_TEXTS: Final = (
    *("", " ", "\0", "a\0b", "\ud800", "\udfff", "\x1b[2J", "\u202e", "é", "😀", "\n"),
    *("1", "-1", "1e400", "nan", "inf", "٣", "²", "9" * 400, "9" * 5000, "x" * 70_000),
    *("true", "null", "{}", "[]", "0000-00-00", "9999-12-31T23:59:59-23:59"),
    *("0001-01-01T00:00:00+23:59", "99:99:99", "..", "a..b", "::1", "%00", "%s", "{x}"),
)
TEXTS: Final = (
    st.text(st.characters(), max_size=20)
    | st.text(st.characters(exclude_categories=()), max_size=20)
    | st.sampled_from(_ODD_TEXTS)
)
"""Texts; also with lone surrogates and control characters, and very long ones."""

LEAVES: Final = st.none() | st.booleans() | NUMBERS | TEXTS
JSON: Final[st.SearchStrategy[Any]] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4)
    ),
    max_leaves=8,
)
"""Any JSON value."""


@st.composite
def damaged(draw: st.DrawFn, value: Any, *, most: int = 4) -> Any:
    """Return a JSON value of which some parts are missing, or something else."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, most))):
        value = _damage(draw, value)
    return value


def _damage(draw: st.DrawFn, value: Any) -> Any:
    """Return a value with one part of it changed, at any depth."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 9)):
        keys = sorted(value) if isinstance(value, dict) else range(len(value))
        key: Any = draw(st.sampled_from(keys))
        match draw(st.integers(0, 9)):
            case 0:
                del value[key]
            case 1 if isinstance(value, dict):
                value[draw(TEXTS)] = value.pop(key)
            case _:
                value[key] = _damage(draw, value[key])
        return value
    return draw(JSON)


@st.composite
def damaged_text(draw: st.DrawFn, value: Mapping[str, Any]) -> str:
    """Return the text of a JSON object with some parts of it damaged."""
    text = json.dumps(value)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 40))
        text = text[:start] + draw(TEXTS) + text[end:]
    return text


def share_of_examples(share: float, parent: settings | None = None) -> settings:
    """Return the settings of a test with slow examples: that share of the usual number."""
    usual = parent or settings()
    return settings(usual, max_examples=max(1, round(usual.max_examples * share)))
