"""A typed client for the HTTP API: ``Client`` and ``AsyncClient`` (docs/api.md).

>>> with Client("http://127.0.0.1:8642", key) as client:
...     found = client.search("how do I get a new password?", top_k=5)
"""

from semantik_pipeline.client.calls import Upload
from semantik_pipeline.client.clients import AsyncClient, Client
from semantik_pipeline.client.retries import Retries

__all__ = ["AsyncClient", "Client", "Retries", "Upload"]
