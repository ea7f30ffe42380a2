"""Kinds of tasks: each translates a declaration into an invocation, and its end into an answer."""
