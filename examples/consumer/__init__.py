"""A program of another team: it follows forecasts and uses nothing but the client."""
