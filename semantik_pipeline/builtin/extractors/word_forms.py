"""Recognizes single words by their shape: addresses, dates, versions, identifiers. Precise rather than greedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

_MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905
MONTHS = frozenset([*_MONTHS, *(month[:3] for month in _MONTHS), "Sept"])
CURRENCIES = frozenset(
    """$ € £ ¥ ₹ US$ USD EUR GBP JPY CHF CNY INR CAD AUD NZD SEK NOK DKK PLN CZK BRL MXN KRW ZAR dollars dollar euros
    euro yen rupees francs""".split()  # noqa: SIM905
)
SCALES = frozenset("thousand million billion trillion mn bn".split())  # noqa: SIM905
#: Prefixes that look like a ticket's project key but name standards, codecs and the like.
_NO_TICKETS = frozenset("UTF ISO SHA COVID AES RSA MD MP ASCII LATIN CP KOI EAN HTTP TLS SSL IPV USB PCI IEEE".split())  # noqa: SIM905

_NUMBER = r"\d{1,3}(?:[,.\u00a0]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,]\d{1,2})?"
_TIME = r"(?:[T ]([01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?"
_MONTH, _DAY = r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_LOOSE_MONTH, _LOOSE_DAY = r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"


def _matches(pattern: str, flags: int = 0) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags)
    return lambda word: compiled.fullmatch(word) is not None


is_email = _matches(r"[A-Za-z0-9][\w.+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}")
is_url = _matches(r"(?:(?:https?|ftp)://[^\s/?#.]+[^\s]*|www\.[A-Za-z0-9-]+\.[A-Za-z]{2,}[^\s]*)", re.IGNORECASE)
is_date = _matches(
    rf"(?:\d{{4}}-{_MONTH}-{_DAY}{_TIME}|(?:19|20)\d\d/{_LOOSE_MONTH}/{_LOOSE_DAY}"
    rf"|{_LOOSE_DAY}\.{_LOOSE_MONTH}\.(?:19|20)\d\d|{_LOOSE_MONTH}/{_LOOSE_DAY}/(?:19|20)\d\d"
    rf"|{_LOOSE_DAY}/{_LOOSE_MONTH}/(?:19|20)\d\d)"
)
is_day = _matches(r"(?:[1-9]|0[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?")
is_year = _matches(r"(?:1[0-9]|20)\d\d")
is_number = _matches(_NUMBER)
is_sum = _matches(rf"(?:(?:US)?[$€£¥₹](?:{_NUMBER})(?:[kKmMbB]|[mb]n)?|(?:{_NUMBER})[€$£¥₹])")
is_decimal = _matches(r"\d{1,4}(?:\.\d{1,4}){1,3}[a-z]?\d?")
is_phone = _matches(r"\+[1-9]\d{0,2}(?:[-.]\d{2,5}){2,5}|\+[1-9]\d{7,14}|[2-9]\d\d-[2-9]\d\d-\d{4}")
is_calling_code = _matches(r"\+[1-9]\d{0,2}")
is_phone_group = _matches(r"\d{2,8}(?:-\d{2,8})*")
_has_version_shape = _matches(
    r"v\d{1,4}(?:\.\d{1,6}){0,3}(?:(?:[-.]?(?:a|b|rc|alpha|beta|dev|post|pre)[-.]?\d*)|-[0-9A-Za-z.]+)?(?:\+[\w.]+)?"
    r"|\d{1,4}(?:\.\d{1,6}){2,3}(?:(?:[-.]?(?:a|b|rc|alpha|beta|dev|post|pre)[-.]?\d*)|-[0-9A-Za-z.]+)?(?:\+[\w.]+)?"
    r"|\d{1,4}(?:\.\d{1,6}){1,3}(?:[-.]?(?:a|b|rc|alpha|beta|dev|post)[-.]?\d+)"
)
_has_ip_shape = _matches(r"\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2})?|[0-9A-Fa-f:]{4,39}(?:/\d{1,3})?")


def is_ip(word: str) -> bool:
    """Whether the word is an IPv4 or IPv6 address, with or without a prefix length."""
    if not _has_ip_shape(word) or not any(map(str.isdigit, word)):
        return False
    try:
        ip_address(word.partition("/")[0])
    except ValueError:
        return False
    return True


def is_version(word: str) -> bool:
    """Whether the word is a version (``v2``, ``1.2.3``, ``2.0rc1``), but not a plain decimal, a date or an address."""
    return _has_version_shape(word) and not is_date(word) and not is_ip(word)


def _isbn(word: str) -> bool:
    digits = word.replace("-", "")
    if len(digits) == 13:
        return sum(int(d) * (1, 3)[n % 2] for n, d in enumerate(digits)) % 10 == 0
    return sum((10 - n) * (10 if d == "X" else int(d)) for n, d in enumerate(digits)) % 11 == 0


def _issn(word: str) -> bool:
    digits = word.replace("-", "")
    return sum((8 - n) * (10 if d == "X" else int(d)) for n, d in enumerate(digits)) % 11 == 0


def _ticket(word: str) -> bool:
    return word.partition("-")[0] not in _NO_TICKETS


def _always(word: str) -> bool:
    return True


#: Kinds of identifiers: the shape, and a check of what the shape alone can't show (check digits).
_IDENTIFIERS: tuple[tuple[str, Callable[[str], bool], Callable[[str], bool]], ...] = (
    ("uuid", _matches(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE), _always),
    ("doi", _matches(r"(?:doi:)?10\.\d{4,9}/[^\s,;]+", re.IGNORECASE), _always),
    ("cve", _matches(r"CVE-(?:19|20)\d\d-\d{4,7}"), _always),
    ("arxiv", _matches(r"arXiv:\d{4}\.\d{4,5}(?:v\d+)?", re.IGNORECASE), _always),
    ("isbn", _matches(r"97[89]-?(?:\d-?){9}\d|\d{1,5}-\d{1,7}-\d{1,6}-[\dX](?<=.{13})"), _isbn),
    ("issn", _matches(r"\d{4}-\d{3}[\dX]"), _issn),
    ("hash", _matches(r"[0-9a-f]{40}|[0-9a-f]{64}"), lambda word: not word.isdigit()),
    ("ticket", _matches(r"[A-Z][A-Z0-9]{1,9}-[1-9]\d{0,6}"), _ticket),
)


def identifier_kind(word: str) -> str | None:
    """``uuid doi cve arxiv isbn issn hash ticket``, or None if the word is not an identifier."""
    return next((kind for kind, shape, check in _IDENTIFIERS if shape(word) and check(word)), None)


#: Name of a form -> test for whether a word has it. The extractor turns each into a lexeme flag of spaCy.
FORMS: dict[str, Callable[[str], bool]] = {
    "EMAIL": is_email,
    "URL": is_url,
    "DATE": is_date,
    "MONTH": MONTHS.__contains__,
    "DAY": is_day,
    "YEAR": is_year,
    "SUM": is_sum,
    "NUMBER": is_number,
    "CURRENCY": CURRENCIES.__contains__,
    "SCALE": SCALES.__contains__,
    "VERSION": is_version,
    "VERSION_WORD": frozenset({"version", "Version", "release", "Release"}).__contains__,
    "DECIMAL": is_decimal,
    "IP": is_ip,
    "PHONE": is_phone,
    "CALLING_CODE": is_calling_code,
    "PHONE_GROUP": is_phone_group,
    "IDENTIFIER": lambda word: identifier_kind(word) is not None,
}
