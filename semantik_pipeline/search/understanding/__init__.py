"""Query interpretation: phrases, exclusions, fields, and the correction of typing errors.

``syntax.py`` parses the query, ``meaning.py`` turns the parts into conditions, ``planning.py`` resolves what needs the
ledger and the index.
"""
