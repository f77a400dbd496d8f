"""What exists: pipes, nodes, machines; frozen, checked as a whole."""
