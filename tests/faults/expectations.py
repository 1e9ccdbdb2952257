"""What must hold while a fault lasts, and after it: a row a class of fault."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

type Status = tuple[str, str | None]


class Row(Enum):
    AWAY = "away"
    HICCUP = "hiccup"
    GARBLED = "garbled"
    HARMLESS = "harmless"
    REFUSED = "refused"
    PART = "part"
    NO_VALUES = "no values"
    ANOTHER = "another"
    WRITE = "write"
