"""The command line: verbs that ask a running engine over HTTP, and `up`, which is one.

Modules import only click and the standard library at their top. What is heavier (rich, the
engine) is imported where it is used, because `--help` and shell completion must be quick.
"""
