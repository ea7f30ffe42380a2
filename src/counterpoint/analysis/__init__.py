"""Pure questions about what happened: they are told everything, and change nothing."""
