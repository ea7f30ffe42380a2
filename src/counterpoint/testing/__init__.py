"""For users and adapter authors: scenarios, builders and one contract suite a port."""
