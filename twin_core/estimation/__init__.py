"""What measurements say about the model."""
