"""Takes sample batches in and acknowledges them when they are on disk."""
