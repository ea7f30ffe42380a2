"""How it runs: declare, trigger, decide, dispatch, observe; each the I/O half of one idea."""
