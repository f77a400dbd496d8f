"""Followers: each moves one kind of model along the measured inputs of its asset."""
