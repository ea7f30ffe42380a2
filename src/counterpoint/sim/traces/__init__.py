"""Traces: logs of work that was done elsewhere, read as jobs. Each format is a module of its own."""
