"""The `uem` command."""
