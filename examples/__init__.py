"""Territories as data files, and a program that follows forecasts, shipped with the package."""
