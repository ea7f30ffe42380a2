"""How a declaration is read: tables of keys, each with its kind and its meaning.

A table is written once. The reader with its messages, the JSON Schema for editors and the reference
page all follow from it, so they cannot drift apart. The score's own tables are in `engine/declare/format/`,
each tool's settings in `adapters/tools/`.

Values come as nodes (`nodes.py`), whatever front they were written in; kinds (`kinds.py`) and records
(`records.py`) read them and put every mistake on one list (`reading.py`); `pages.py` describes them.
"""
