"""What a query means beside its words: phrases, exclusions, fields, typing errors.

``syntax.py`` reads it, ``meaning.py`` says what that asks for, ``planning.py`` adds what ledger and index know.
"""
