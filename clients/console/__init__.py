"""The web console: one page over a uem server, for the browsers of one machine."""
