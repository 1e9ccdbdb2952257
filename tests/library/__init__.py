"""Tests of the library by itself, and of its command."""
