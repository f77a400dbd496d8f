"""The model: pure computation. No sockets, files, clocks or threads of its own."""
