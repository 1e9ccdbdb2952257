"""Tests of control: setpoints, the lease, its ends, and what is never left behind."""
