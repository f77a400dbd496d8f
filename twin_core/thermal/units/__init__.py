"""Units of an energy plant and its customers: what they do to the water in a step."""
