"""The routes: one module for each resource, each with a ``router``. ``app.py`` lists the modules."""
