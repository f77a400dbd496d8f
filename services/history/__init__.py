"""Stored samples: the store and the service that reads it."""
