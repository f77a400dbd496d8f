"""`uem validate`: every known validation case, with its figure, a reference figure and its bar."""
