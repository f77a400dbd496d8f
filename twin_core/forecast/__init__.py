"""What the model says about the time to come."""
