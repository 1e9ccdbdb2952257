"""The control of a Sessy: the strategy API and a power, and restoring the strategy.

- A setpoint only works in the strategy API. No client knows it to expire and none
  renews it, so neither does this: it holds until full, empty or another strategy, also
  when its controller is gone [uncertain over days and over a restart].
- A supplier in control (strategy SESSY_CONNECT, or a strategy that is overridden) is
  not fought: a setpoint is posted when it is asked for, and never again by itself.
"""

from contextlib import suppress
from dataclasses import dataclass, field
import logging
from typing import Final, TypeGuard, override

from ..battery.controller import (
    Bound,
    ForeignSetpoint,
    Grant,
    HeldSetpoint,
    LimitReason,
    Recovered,
    SetpointController,
    SetpointRequest,
    Snapshot,
    bounded,
    loop_time,
    sound_parts,
)
from ..errors import (
    BatteryError,
    NotConfirmedError,
    ProtocolError,
    RequestTimeoutError,
    TakenOverError,
)
from ..measurements import Value
from .device import ONE_ENDPOINT_ERRORS, SessyDevice
from .endpoints import API, POWER, SETPOINT, STRATEGY, Field
from .measurements import BATTERY

_LOGGER = logging.getLogger(__name__)

_FIELDS: Final = {each.key: each for each in BATTERY.fields}
_SETPOINT: Final[Field] = _FIELDS["power_setpoint"]
_OVERRIDDEN: Final[Field] = _FIELDS["strategy_overridden"]
_LIMIT: Final[Field] = _FIELDS["charge_power_limit"]

_JUST_READ: Final = 2.0
"""Seconds within which the strategy is not asked for again. The snapshot has just read
it, and under frequent requests a dongle is said to fall silent."""
_LONGEST: Final = 100
"""Letters that no strategy's word has."""


def _may_be_strategy(word: object) -> TypeGuard[str]:
    """Return whether a word may be a device's strategy, be it one unknown here."""
    return isinstance(word, str) and 0 < len(word) <= _LONGEST and word.isprintable()


def _foreign_setpoint() -> ForeignSetpoint:
    """Return the count of foreign setpoints; the first is answered by a post."""
    return ForeignSetpoint(reads=2, in_a_row=False)


@dataclass(slots=True, kw_only=True)
class SessySetpoint(HeldSetpoint):
    """The record of the setpoint that a Sessy is held at."""

    foreign: ForeignSetpoint = field(default_factory=_foreign_setpoint)
    former: Value = None
    """The setpoint that the device showed before, W; None if that is not known."""
    in_api: bool = False
    """Whether the device has shown the strategy API since that was posted."""
    was_seen: bool = False
    """Whether it has shown the setpoint, too."""


class SessyController(SetpointController[SessySetpoint]):
    """Holds a Sessy battery in the strategy API, at a power."""

    def __init__(self, device: SessyDevice, address: str) -> None:
        """Hold the battery of `device`; errors name `address`."""
        super().__init__()
        self._device = device
        self._address = address

    @override
    async def take_snapshot(self) -> Snapshot:
        """Read the strategy, which is all that a release restores.

        Not the setpoint: one in the strategy API is another controller's, or an old
        one, and must not begin to run again.
        """
        return {"strategy": await self._read_strategy()}

    @override
    async def apply(self, request: SetpointRequest, snapshot: Snapshot) -> Grant:
        grant = await self._limit(request.power)
        async with self._device.writing:
            former = await self._read_strategy(_JUST_READ)
            shown = self._last_setpoint()
            if former == API:
                await self._post_setpoint(grant.power)
            else:
                self._device.check_flash(STRATEGY)
                await self._begin(grant.power, former)
            now = loop_time()
            self.held = SessySetpoint(
                request=request,
                grant=grant,
                changed_at=now,
                written_at=now,
                former=shown,
                in_api=former == API or await self._is_in_api(),
            )
        return grant

    async def _is_in_api(self) -> bool:
        """Return whether the device shows the strategy API, as far as it answers."""
        with suppress(BatteryError):
            return await self._read_strategy() == API
        return False

    def _last_setpoint(self) -> Value:
        """Return the setpoint in the last answer, W; None if there is none."""
        answer = self._device.answers.get(POWER.path)
        if answer is None:
            return None
        return self._device.values_in([_SETPOINT], answer).values.get(_SETPOINT.key)

    async def _begin(self, power: int, former: str) -> None:
        """Choose the strategy API and set a power; on failure, restore the strategy."""
        try:
            await self._post_strategy(API)
            await self._post_setpoint(power)
        except BatteryError as err:
            # In API without a new setpoint it would run on an earlier one.
            await self._post_strategy(former, insists=True)
            err.restored = True
            raise

    async def _limit(self, power: float) -> Grant:
        """Return the grant for `power`, W, under the present settings, or the last ones."""
        granted = round(power)
        if granted == 0:
            return Grant(0)
        with suppress(*ONE_ENDPOINT_ERRORS, RequestTimeoutError):
            await self._device.read([_LIMIT])
        maximum = self._device.last_raw(_LIMIT)
        if not isinstance(maximum, int | float):
            return Grant(granted)
        power, reason = bounded(granted, [Bound(maximum, LimitReason.SETTING)])
        return Grant(round(power), reason)

    @override
    def wears_flash(self, power: float) -> bool:
        """Return True for the first setpoint: it needs another strategy."""
        return self.held is None

    @override
    async def shows_setpoint(self, snapshot: Snapshot) -> bool:
        return await self._read_strategy() == API

    @override
    async def renew(self, snapshot: Snapshot) -> Grant | None:
        """Check the setpoint for another controller; nothing has to be renewed.

        A setpoint that has changed by itself is posted once more, and never again.
        """
        async with self._device.writing:
            held = self.held
            if held is None:  # released while this waited
                return None
            power = held.grant.power
            if (strategy := await self._read_strategy()) != API:
                if not held.in_api and strategy == snapshot.get("strategy"):
                    raise self._not_confirmed(f"the strategy is still {strategy}")
                raise self._taken_over(f"the strategy is {strategy}")
            held.in_api = True
            report = await self._device.read([_SETPOINT, _OVERRIDDEN], again=[POWER])
            if report.values.get(_OVERRIDDEN.key):
                raise self._taken_over("the strategy is overridden")
            seen = report.values.get(_SETPOINT.key)
            if seen is None:
                return None
            if seen == power:
                held.was_seen = True
                return None
            held.foreign.note(is_own=False)
            if held.foreign.is_certain:
                if not held.was_seen and seen == held.former:
                    raise self._not_confirmed(f"the setpoint is still {seen} W")
                raise self._taken_over(f"the setpoint is {seen} W instead of {power} W")
            await self._post_setpoint(power)
            held.written_at = loop_time()
            return held.grant

    def _not_confirmed(self, what: str) -> NotConfirmedError:
        return NotConfirmedError(f"{self._address}: {what}; the post had no effect")

    def _taken_over(self, what: str) -> TakenOverError:
        return TakenOverError(
            f"{self._address}: {what}; another controller has changed it"
        )

    @override
    def recover(self, stored: Snapshot) -> Recovered:
        return sound_parts(stored, {"strategy": _may_be_strategy})

    @override
    async def restore(self, snapshot: Snapshot) -> None:
        """Hold 0 W, then restore the strategy of the snapshot, and see both confirmed.

        In this order a failure half way leaves a battery at rest, and no setpoint
        waits for the next controller that chooses API. A strategy other than API was
        chosen by another controller since, and stays. Where the snapshot has API, it
        stays in API, at 0 W.
        """
        async with self._device.writing:
            former = snapshot.get("strategy", API)
            present = await self._read_strategy()
            if present == API:
                await self._restore_strategy(former)
            elif present != former:
                _LOGGER.info("%s: stays in %s, chosen since", self._address, present)

    async def _restore_strategy(self, strategy: str) -> None:
        await self._post_setpoint(0)
        unconfirmed = None
        try:
            # While in API: other strategies show setpoints of their own.
            await self._device.confirm(
                "setpoint", 0, lambda: self._device.read_field(_SETPOINT)
            )
        except NotConfirmedError as err:
            unconfirmed = err
        if strategy != API:
            await self._post_strategy(strategy)
            await self._device.confirm("strategy", strategy, self._read_strategy)
        if unconfirmed is not None:
            raise unconfirmed

    async def _read_strategy(self, seconds: float = 0) -> str:
        """Return the strategy in the device's own words: it may be one unknown here.

        It is not asked for again if it was in the last `seconds`.
        """
        answer = await self._device.ask_unless_recent(STRATEGY, seconds)
        strategy = answer.get("strategy")
        if not _may_be_strategy(strategy):
            raise ProtocolError(f"{self._address}{STRATEGY.path}: no strategy")
        return strategy

    async def _post_strategy(self, strategy: str, *, insists: bool = False) -> None:
        await self._device.post(STRATEGY, {"strategy": strategy}, insists=insists)

    async def _post_setpoint(self, power: int) -> None:
        """Set a power, W, + = charging; the device has the opposite sign.

        While the strategy changes, a dongle may refuse it in any way: 500, 404, a page,
        an answer that is not good.
        """
        await self._device.post(SETPOINT, {"setpoint": -power}, insists=True)
