"""Other libraries as their documents say they are used, each in its own environment.

These modules run with the Python of that environment, which may be 3.11. Each connects,
polls when a line comes in, and prints the cost of that: see `rounds.py`.
"""
