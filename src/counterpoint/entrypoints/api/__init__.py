"""REST, CloudEvents in, server-sent events out."""
