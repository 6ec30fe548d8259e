"""Access: API keys, the principals of documents, idempotent requests, and the audit trail."""
