"""How well Counterpoint schedules, in virtual time; see the section "Scheduling" of `bench/README.md`."""
