"""A simulated battery: to try the integration without a device."""

from .battery import SimulatedBattery

__all__ = ["SimulatedBattery"]
