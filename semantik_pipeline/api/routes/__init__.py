"""One module for each resource, each with a ``router``; ``app.py`` lists them."""
