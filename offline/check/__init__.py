"""Mistakes in networks, as engineers make them: found in what was drawn and in how it runs at its design load."""
