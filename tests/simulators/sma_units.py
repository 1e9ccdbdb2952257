"""The Modbus unit of a Sunny Island."""

from collections import deque
from typing import Final, Literal

from .modbus import (
    ILLEGAL_ADDRESS,
    ILLEGAL_VALUE,
    NO_RESPONSE,
    READ_HOLDING_REGISTERS,
    READ_INPUT_REGISTERS,
    WRITE_MULTIPLE,
    Refused,
    Silent,
    Units,
)
from .sma_inverter import NotTaken
from .sma_registers import (
    MEASURED,
    NOT_IN_OLD_MODELS,
    OLD_MODELS,
    READ_BACK_REGISTERS,
    SETTINGS,
    Setting,
)
from .sma_values import SunnyIslandValues
from .words import by_word

type OtherUnits = Literal["refuse", "silent"]
type WriteOnly = Literal["refuse", "unknown"]

UNIT: Final = 3
UNUSED_WORD: Final = 0xFFFF
POLLING_WINDOW: Final = 10.0  # s


class SmaUnits(Units):
    """Units that answer like the device's own profile.

    - A block has to begin and end on the borders of registers: exception 2. Words
      between registers read 0xFFFF.
    - A write-only register is exception 2 in a read, or has no value.
    - A value out of range: exception 3, also the one that means no value.
    - Registers that need the installer's code cannot be written (the code is uncertain:
      2).
    """

    functions = frozenset(
        (READ_HOLDING_REGISTERS, READ_INPUT_REGISTERS, WRITE_MULTIPLE)
    )

    def __init__(self, values: SunnyIslandValues, *, read_back: bool) -> None:
        """Serve the device; `read_back`: write-only registers have readable copies."""
        super().__init__()
        self.values = values
        self.device = values.device
        self.settings = {row.address: row for row in SETTINGS}
        self.registers = by_word([*MEASURED, *(row.register for row in SETTINGS)])
        self.other_units: OtherUnits = "refuse"
        self.write_only: WriteOnly = "refuse"
        self.absent: set[int] = set()
        """Addresses of registers that the device does not have."""
        if not read_back:
            self.absent |= READ_BACK_REGISTERS
        if values.model in OLD_MODELS:
            self.absent |= NOT_IN_OLD_MODELS
        self.unknown: set[int] = set()
        """Addresses of registers that have no value."""
        self.locks_up_above: int | None = None
        """Number of requests in ten seconds above which the device locks up."""
        self.locked_up = False
        self._asked: deque[float] = deque()

    def answer(self, unit: int, pdu: bytes) -> bytes | None:
        """Answer one request, unless the device has locked up."""
        now = self.device.plant.clock()
        self._asked.append(now)
        while now - self._asked[0] > POLLING_WINDOW:
            self._asked.popleft()
        if self.locks_up_above is not None and len(self._asked) > self.locks_up_above:
            self.locked_up = True
        return None if self.locked_up else super().answer(unit, pdu)

    def power_cycle(self) -> None:
        """Unlock a device that has locked up."""
        self.locked_up = False
        self._asked.clear()

    def read(self, unit: int, address: int, count: int) -> list[int]:
        """Return words between two borders."""
        self._check_unit(unit)
        self.device.update()
        addresses = range(address, address + count)
        if not self._has_borders(addresses):
            raise Refused(ILLEGAL_ADDRESS)
        values = self.values.now()
        words = []
        for each in addresses:
            register = self.registers.get(each)
            if register is None or register.address in self.absent:
                words.append(UNUSED_WORD)
                continue
            value = values.get(register.name)
            setting = self.settings.get(register.address)
            if setting is not None and setting.write_only:
                if self.write_only == "refuse":
                    raise Refused(ILLEGAL_ADDRESS)
                value = None
            if register.address in self.unknown:
                value = None
            words.append(register.encode(value)[each - register.address])
        return words

    def write(self, unit: int, address: int, words: list[int]) -> None:
        """Accept the words if all of them are acceptable."""
        self._check_unit(unit)
        self.device.update()
        for row, value in self._checked(address, words):
            self.device.write(row, value)

    def _check_unit(self, unit: int) -> None:
        if unit != UNIT:
            raise Silent if self.other_units == "silent" else Refused(NO_RESPONSE)

    def _has_borders(self, addresses: range) -> bool:
        first = self.registers.get(addresses[0])
        last = self.registers.get(addresses[-1])
        return (
            first is not None
            and last is not None
            and addresses[0] == first.address
            and addresses[-1] == last.addresses[-1]
            and self.absent.isdisjoint((first.address, last.address))
        )

    def _checked(self, address: int, words: list[int]) -> list[tuple[Setting, float]]:
        """Return the settings that these words belong to, and their values."""
        checked = []
        while words:
            row = self.settings.get(address)
            if row is None or row.guarded or address in self.absent:
                raise Refused(ILLEGAL_ADDRESS)
            count = row.kind.words
            if len(words) < count:
                raise Refused(ILLEGAL_ADDRESS)
            try:
                value = self.device.check(row, row.register.decode(words[:count]))
            except NotTaken:
                raise Refused(ILLEGAL_VALUE) from None
            checked.append((row, value))
            address, words = address + count, words[count:]
        return checked
