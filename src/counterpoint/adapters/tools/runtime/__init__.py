"""What tools do outside: functions called in an attempt's own process, never in the engine.

Each module's `run(**arguments)` does its work, prints what belongs in the log, and writes lines to
the file that `COUNTERPOINT_OUTPUT` names.
"""
