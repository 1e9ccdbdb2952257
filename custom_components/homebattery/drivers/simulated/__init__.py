"""A simulated battery, to try what can be done with one."""
