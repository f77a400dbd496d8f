"""Machines: states, power, heat, ledgers."""
