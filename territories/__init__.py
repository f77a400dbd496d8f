"""Territory files: read, checked, turned into plants of the core."""
