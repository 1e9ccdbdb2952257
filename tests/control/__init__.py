"""Tests of control: setpoints, the lease, its ends, and the release after each."""
