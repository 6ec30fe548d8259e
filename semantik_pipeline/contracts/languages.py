"""Languages: the ISO 639-1 codes that documents carry, and the names that stemming engines use."""

from __future__ import annotations

from semantik_pipeline.errors import UsageError

#: Languages with a stemmer or a list of stop words: code -> name.
LANGUAGES = {
    "ar": "arabic",
    "az": "azerbaijani",
    "bn": "bengali",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "he": "hebrew",
    "hu": "hungarian",
    "id": "indonesian",
    "it": "italian",
    "ja": "japanese",
    "kk": "kazakh",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sl": "slovene",
    "sv": "swedish",
    "tg": "tajik",
    "tr": "turkish",
    "zh": "chinese",
}

#: No language: words are used as they are.
NONE = "none"


def language_name(language: str) -> str:
    """Return the name of a language given by code or name; ``none`` is valid too. Raises UsageError for any other."""
    known = language.strip().lower()
    name = LANGUAGES.get(known, known)
    if name != NONE and name not in LANGUAGES.values():
        names = ", ".join(sorted({*LANGUAGES.values()}))
        raise UsageError(f"Words of the language {language!r} can't be stemmed.", f"Known: {names}, and {NONE}.")
    return name


def stemmed_as(code: str | None) -> str | None:
    """Return the name of the language by whose rules a document's words are stemmed.

    It is ``none`` if there are no rules for the document's language, and None if its language is unknown; the
    collection's setting applies then.
    """
    if not code:
        return None
    return LANGUAGES.get(code.partition("-")[0].lower(), NONE)
