"""Plants behind real protocols."""
