"""Attempts as processes on this machine, under a worker host of its own session.

`client.py` is the Executor of the engine; all others but `launch.py` belong to the host's program.
"""
