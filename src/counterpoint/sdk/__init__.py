"""For pipelines, standard library only: emit, progress, checkpoint, asset metadata."""
