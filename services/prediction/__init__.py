"""Forecasts of what the twins watch."""
