"""An OPC UA server whose changing values are columns, on asyncua's transport, security and address space."""
