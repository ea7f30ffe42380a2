"""What is decided: pure and deterministic; facts in, decisions out.

Read `events`, `decisions` and `phases` for the words, `policy` for what the system does, and
`step` for how one event becomes decisions. No clock, randomness, logging or I/O in here.
"""
