"""Tests of the integration in Home Assistant: flows, entities, repairs, texts."""
