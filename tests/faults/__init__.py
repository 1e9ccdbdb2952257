"""The fault matrix: every battery, with every fault, at rest and held."""
