"""Territories of the package, read once in a process: to read the valley takes a third of a second.

Each process of a test run collects all files, so what a file reads or imports there is paid for in each.
"""

from functools import cache

from uem.territories.load import load

shipped = cache(load)  # nothing of a territory is ever changed
