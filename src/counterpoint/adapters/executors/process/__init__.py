"""Attempts as processes on this machine, under a worker host of its own session."""
