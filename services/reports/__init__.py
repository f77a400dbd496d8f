"""What the server and the gateways know of themselves."""
