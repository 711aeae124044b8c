"""Accepted requests: who may start, what happens to each, and what everyone is told about it."""
