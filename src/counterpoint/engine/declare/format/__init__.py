"""The format of a score, as tables: each key once, with its kind and its meaning.

The reader, the JSON Schema for editors and the reference page all follow from what stands here.
Defaults are the model's own, unless the table says otherwise.
"""

from counterpoint.engine.declare.format.score import score_format

__all__ = ["score_format"]
