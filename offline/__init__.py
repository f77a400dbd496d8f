"""Work without a server: simulate a territory on a time series, validate the core against measured data."""
