"""The models of an installation: which ones are used, where they are, whether they are intact, how to download them."""
