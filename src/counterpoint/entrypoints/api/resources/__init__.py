"""The routes, a file per resource; `app.py` lists them."""
