"""Who asks: thin; parse, call, render."""
