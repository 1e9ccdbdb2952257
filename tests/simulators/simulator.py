"""The common part of all simulated devices."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
import inspect
from typing import Any, ClassVar, Final, Literal, NamedTuple, Self

from homebattery.simulated.plant import Plant

from .http_server import JsonServer
from .modbus_server import TcpServer

type State = dict[str, Any]


_FAULT: Final = "fault_"


class Fault(NamedTuple):
    """A fault that the server offers."""

    help: str
    fields: Mapping[str, tuple[str, Any]]
    """Argument → field of the server's faults, default."""


_ANY_SERVER: Final = {
    "delay": Fault("each answer comes so late", {"seconds": ("delay", 1.0)}),
    "hang": Fault("no answers; off: they come, late", {"on": ("hang", True)}),
    "cut_request": Fault(
        "each request ends its connection", {"count": ("cut_request", 1)}
    ),
}

MODBUS_FAULTS: Final[Mapping[str, Fault]] = {
    **_ANY_SERVER,
    "write_delay": Fault(
        "each write is answered so late", {"seconds": ("write_delay", 1.0)}
    ),
    "cut_write": Fault(
        "the nth write from now, taken or not, ends the connection, for good or once",
        {
            "nth": ("cut_write", 1),
            "for_good": ("cut_for_good", True),
            "taken": ("cut_taken", True),
        },
    ),
    "refuse": Fault("new connections are closed at once", {"on": ("refuse", True)}),
    "drop": Fault("the nth request from now is lost", {"nth": ("drop", 1)}),
    "wrong_transaction": Fault(
        "answers carry a wrong transaction id", {"count": ("wrong_transaction", 1)}
    ),
    "exception": Fault(
        "requests (to one unit, or any) are refused with this code",
        {
            "code": ("exception", 4),
            "count": ("exception_count", 1),
            "unit": ("exception_unit", None),
        },
    ),
    "refuse_writes": Fault(
        "each write is refused with this code; 0: they are taken again",
        {"code": ("write_exception", 4)},
    ),
    "one_client": Fault(
        "a new connection ends the older ones", {"on": ("one_client", True)}
    ),
    "max_clients": Fault(
        "a connection beyond this many is closed at once", {"count": ("max_clients", 1)}
    ),
    "settle": Fault(
        "requests so soon after connecting are lost", {"seconds": ("settle", 1.0)}
    ),
}

HTTP_FAULTS: Final[Mapping[str, Fault]] = {
    **_ANY_SERVER,
    "error": Fault(
        "requests (with this in their path) fail",
        {
            "status": ("error_status", 500),
            "count": ("error", 1),
            "path": ("error_path", ""),
        },
    ),
    "non_json": Fault(
        "answers (to such a path) are not JSON",
        {"count": ("non_json", 1), "path": ("error_path", "")},
    ),
    "unauthorized": Fault(
        "no password is right any more", {"on": ("unauthorized", True)}
    ),
}


class Simulator(ABC):
    """A device on the house, reachable at `host` and `port` while started.

        async with VictronSimulator(Plant(phases=3, soc=40)) as simulator:
            ...

    Options of a device are the annotated keyword arguments of its constructor.
    """

    type: ClassVar[str]
    plant_defaults: ClassVar[Mapping[str, Any]] = {}
    """Arguments of `Plant` that suit this device better than the defaults."""
    server_faults: ClassVar[Mapping[str, Fault]]
    """Faults of the server. A device adds methods named `fault_…`."""

    plant: Plant
    server: TcpServer | JsonServer

    @classmethod
    def house(cls, **arguments: Any) -> Plant:
        """Return a house that suits this device; `arguments` are those of `Plant`."""
        return Plant(**{**cls.plant_defaults, **arguments})

    @property
    def host(self) -> str:
        """Address it listens at."""
        return self.server.host

    @property
    def port(self) -> int:
        """Port it listens at; known once it is started."""
        return self.server.port

    @property
    def setup(self) -> dict[str, Any]:
        """Settings that a user would enter to reach this device."""
        return {"host": self.host, "port": self.port}

    @property
    @abstractmethod
    def mode(self) -> Literal["automatic", "controlled"]:
        """Source of the battery's power: the device, or an outside controller."""

    @abstractmethod
    def device_state(self) -> State:
        """Return the device's own part of the state, in its own words."""

    @abstractmethod
    def settings_words(self) -> dict[str, Any]:
        """Return every setting of a client or the user, word by word, as it is now.

        A controller that restores the device's former settings leaves this unchanged. A
        device omits only words that it changes by itself or no longer heeds, and names
        them.
        """

    def measured(self) -> dict[str, float]:
        """Return true powers (W), SOC (%) and energies (Wh, since the start)."""
        plant = self.plant
        plant.run()
        counters = plant.counters
        return {
            "soc": round(plant.soc, 2),
            "battery_power": round(plant.battery, 1),
            "grid_power": round(sum(plant.grid), 1),
            "pv_power": round(plant.pv, 1),
            "load_power": round(sum(plant.load), 1),
            "energy_charged": round(counters.charged, 1),
            "energy_discharged": round(counters.discharged, 1),
            "energy_imported": round(sum(counters.imported), 1),
            "energy_exported": round(sum(counters.exported), 1),
            "energy_pv": round(counters.pv, 1),
            "energy_load": round(counters.load, 1),
        }

    def state(self) -> State:
        """Return the true state, whatever the device reports to its clients."""
        return {
            **self.measured(),
            "mode": self.mode,
            "hour": round(self.plant.hour, 3),
            "device": self.device_state(),
        }

    async def start(self) -> None:
        """Listen."""
        await self.server.start()

    async def stop(self) -> None:
        """Stop listening, and close all connections."""
        await self.server.stop()

    @classmethod
    def faults(cls) -> dict[str, str]:
        """Return every fault with its arguments, and its effect."""
        known = {}
        for name, fault in cls.server_faults.items():
            arguments = ", ".join(
                f"{key}={field[1]!r}" for key, field in fault.fields.items()
            )
            known[f"{name}({arguments})"] = fault.help
        for attribute in dir(cls):
            if attribute.startswith(_FAULT):
                method = getattr(cls, attribute)
                parameters = list(inspect.signature(method).parameters.values())[1:]
                arguments = ", ".join(
                    parameter.name
                    if parameter.default is parameter.empty
                    else f"{parameter.name}={parameter.default!r}"
                    for parameter in parameters
                )
                name = attribute.removeprefix(_FAULT)
                known[f"{name}({arguments})"] = inspect.getdoc(method) or ""
        return known

    async def misbehave(self, name: str, **arguments: Any) -> None:
        """Begin or end a fault; see `faults`."""
        if fault := self.server_faults.get(name):
            if unknown := arguments.keys() - fault.fields.keys():
                raise ValueError(f"{name} has no argument {', '.join(unknown)}")
            given = {
                key: default for key, (_, default) in fault.fields.items()
            } | arguments
            self.server.set_faults(
                **{fault.fields[key][0]: given[key] for key in given}
            )
        elif method := getattr(self, _FAULT + name, None):
            result = method(**arguments)
            if inspect.isawaitable(result):
                await result
        else:
            raise ValueError(f"{self.type} cannot misbehave as {name!r}")

    async def fault_away(self, on: bool = True) -> None:
        """Refuse connections; off: come back on the same port."""
        await (self.stop() if on else self.start())

    def fault_cut(self) -> None:
        """Reset all connections now."""
        self.server.cut()

    async def __aenter__(self) -> Self:
        """Listen."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening."""
        await self.stop()
