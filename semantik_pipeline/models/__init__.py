"""The models of an installation: which are used, where their files are, whether those are what they should be, and how
they get here."""
