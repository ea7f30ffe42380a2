"""Who offers what the ports ask for; each folder is the plural of its port."""
