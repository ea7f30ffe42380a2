"""One suite a port; an adapter's whole test is a subclass that provides the adapter."""
