"""Tests of the user's steps in Home Assistant's own frontend, in a real browser.

The stage is the demo: simulated batteries, a real Home Assistant and its own pages. Run
by scripts/test-browser; scripts/test leaves it out.
"""
