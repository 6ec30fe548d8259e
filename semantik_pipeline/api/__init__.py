"""The HTTP API, ``/api/v2``. Each route parses the request, calls one function of the core and answers. ``app.py``
assembles the application."""
