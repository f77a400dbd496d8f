"""OPC UA: client adapter and certificates."""
