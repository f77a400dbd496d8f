"""Territories as data files, shipped with the package."""
