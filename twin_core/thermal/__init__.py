"""Water, heat and flow in pipe networks."""
