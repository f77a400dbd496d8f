"""Instant answers about lines, queues and crews: closed forms, exact Markov chains and decomposition."""
