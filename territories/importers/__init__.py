"""Readers of what other tools write: each gives a territory and says what it could not carry over."""
