"""What control systems see of the twins: an OPC UA server that is a client of ours."""
