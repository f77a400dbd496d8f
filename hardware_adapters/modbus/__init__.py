"""Modbus TCP: registers and bits of devices, read block by block."""
