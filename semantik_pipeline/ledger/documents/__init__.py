"""What the ledger knows of documents: chunks and cached results, words, and documents as people and searches find them."""
