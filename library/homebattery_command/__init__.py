"""The command `homebattery`: reads a battery, and holds it at a power."""
