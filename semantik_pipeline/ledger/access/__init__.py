"""Who may call and who may see what: API keys, the principals of documents, requests that are done once, and the trail
of who changed what."""
