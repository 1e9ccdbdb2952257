"""The last value of each register, and the time it was read."""

from collections.abc import Collection, Iterable, Mapping
import math

from ..measurements import Value
from ..written import Written


class RegisterCache:
    """The registers of one battery as they were last read, by name.

    Fed by every read, whatever it is for. Times are the event loop's, s. A value whose
    request began before the last write of its register may be from before it, and is
    not kept.
    """

    def __init__(self) -> None:
        """Begin with nothing read."""
        self._values: dict[str, Value] = {}
        self._read_at: dict[str, float] = {}
        self._written_at: dict[str, float] = {}
        self.written: Written[str] = Written()
        """The registers whose new values are to be read."""

    def note_read(self, values: Mapping[str, Value], began: float, now: float) -> None:
        """Keep the values of a request that was sent at `began`, and answered `now`."""
        written_at = self._written_at
        if late := {
            each for each in values.keys() & written_at if began < written_at[each]
        }:
            values = {each: values[each] for each in values.keys() - late}
        self._values.update(values)
        self._read_at.update(dict.fromkeys(values, now))

    def note_missing(self, names: Iterable[str], now: float) -> None:
        """Note that registers are not there, which counts as read, too."""
        for name in names:
            self._values.pop(name, None)
            self._read_at[name] = now

    def note_refused(self, names: Iterable[str], now: float) -> None:
        """Note that registers were refused now; their last values stay valid.

        A refusal may be a passing one, and a controller must not lose a limit that it
        has seen.
        """
        self._read_at.update(dict.fromkeys(names, now))

    def note_written(self, names: Iterable[str], now: float) -> None:
        """Forget the values of registers that are being written."""
        for name in names:
            self.written.note(name, now)
            self._written_at[name] = now
            self._values.pop(name, None)
            self._read_at.pop(name, None)

    def forget(self) -> None:
        """Forget all values: it may be another device by now."""
        self._values.clear()
        self._read_at.clear()

    @property
    def values(self) -> Mapping[str, Value]:
        """The last value of each register that has been read; a view."""
        return self._values

    def seconds_since_read(self, name: str, now: float) -> float:
        """Return the seconds since a register was read; infinite if it never was."""
        return now - self._read_at.get(name, -math.inf)

    def older_than(
        self, seconds: float, names: Collection[str], now: float
    ) -> set[str]:
        """Return those of `names` that were read `seconds` ago or earlier, or never."""
        read_at = self._read_at
        return {name for name in names if now - read_at.get(name, -math.inf) >= seconds}
