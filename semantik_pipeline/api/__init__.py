"""The HTTP API, ``/api/v2``: each route parses, calls one function of the core, and answers. ``app.py`` puts it together."""
