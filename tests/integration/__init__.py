"""Tests of what Home Assistant shows of the integration: flows, entities, repairs, texts."""
