"""Virtual time: the kernel that runs in production, played against a world drawn from a seed."""
