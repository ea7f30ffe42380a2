"""Counterpoint makes pipelines that run on different clocks work together."""
