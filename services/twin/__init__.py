"""Runs the twins and publishes their state."""
