"""Languages as documents carry them, ISO 639-1 codes, and as engines that stem words name them."""

from __future__ import annotations

from semantik_pipeline.errors import UsageError

#: Languages whose words can be stemmed, or whose stop words are known: code -> name.
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

#: No language: words count as they stand.
NONE = "none"


def language_name(language: str) -> str:
    """The name of a language that is given by its code or its name (``none`` too). Raises UsageError for another one."""
    known = language.strip().lower()
    name = LANGUAGES.get(known, known)
    if name != NONE and name not in LANGUAGES.values():
        names = ", ".join(sorted({*LANGUAGES.values()}))
        raise UsageError(f"Words of the language {language!r} can't be stemmed.", f"Known: {names}, and {NONE}.")
    return name


def stemmed_as(code: str | None) -> str | None:
    """The name of the language whose rules the words of a document follow: ``none`` where nobody knows its language's
    rules, None where nobody knows its language (what the collection says counts then)."""
    if not code:
        return None
    return LANGUAGES.get(code.partition("-")[0].lower(), NONE)
