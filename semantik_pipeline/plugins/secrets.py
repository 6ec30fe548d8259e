"""Recognizes secrets by the schema, by an option's name, and by the shape of a value; redacts and scrubs them.

No secret is stored or shown. The shapes come from detect-secrets, with a few providers added that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from semantik_pipeline.plugins.known_secrets import KNOWN

REDACTED = "********"

#: If the last word of an option's name is one of these, its value is a secret; `max_tokens` ends in another word.
SECRET_WORDS = frozenset({"key", "token", "secret", "password", "passphrase", "credential", "credentials"})
#: The same for words that are written together.
_GLUED = frozenset({"apikey", "accesskey", "secretkey", "privatekey", "authtoken", "accesstoken", "passwd"})

#: detect-secrets' detectors of well-known shapes. Not used: the detectors that guess from entropy or from names in
#: source code, and the one for public IP addresses, which are no secret in an endpoint's URL.
_DETECTORS = {
    "artifactory": "ArtifactoryDetector",
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
#: Key prefixes that these providers document, followed by at least 16 random characters.
_MORE_SHAPES = re.compile(
    r"\b(?:sk-(?:ant-|proj-|or-|svcacct-)?|hf_|AIza|gsk_|r8_|xai-|github_pat_|co-api-|pplx-)[A-Za-z0-9_-]{16,}"
)
#: Importing the library takes 0.2 s, so it is imported only for a text that has a URL with a password, a PEM or PuTTY
#: header, a number before a colon, or a run of 11 characters that is not a plain word.
_WORTH_A_LOOK = re.compile(r"://[^\s/]*@|PRIVATE KEY|PuTTY|_authToken|AccountKey|hooks\.slack|\d{8,10}:")
_RUN = re.compile(r"[A-Za-z0-9]{11,}")
_LONGEST_WORD = 20
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.DOTALL)


def is_secret_name(name: str) -> bool:
    """Whether the last word of the option's name means a secret: ``api_key``, ``apiKey``, ``auth-token``."""
    last = last_word(name)
    return last in SECRET_WORDS or last in _GLUED


def last_word(name: str) -> str:
    """Return the last word of an option's name in lower case; "" if it has none."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return words[-1].lower() if words else ""


def is_declared_secret(field: dict[str, Any]) -> bool:
    """Whether an option's schema declares that it holds a secret."""
    return bool(field.get("secret") or field.get("writeOnly")) or field.get("format") == "password"


def is_env_reference(name: str, field: dict[str, Any] | None = None) -> bool:
    """Whether the option's value is the name of an environment variable."""
    return name.endswith("_env") or (field or {}).get("format") == "env_var_reference"


def find_secret(options: dict[str, Any], schema: dict[str, Any] | None = None) -> tuple[str, str] | None:
    """Return the first raw secret as (path of the option, why it counts as a secret), or None."""
    properties = (schema or {}).get("properties", {})
    for name, value in options.items():
        field = properties.get(name, {})
        found = next(_secrets_in(name, value, field if isinstance(field, dict) else {}, hidden=False), None)
        if found:
            return found
    return None


def has_secret_shape(text: str) -> bool:
    """Whether the text contains something with the shape of a well-known credential."""
    return bool(_MORE_SHAPES.search(text)) or (
        _may_hold_secret(text) and any(any(detector.analyze_string(text)) for detector in _detectors())
    )


def redact(config: dict[str, Any], schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the configuration for display: environment variable names stay, secrets become ``********``."""
    properties = (schema or {}).get("properties", {})
    return {name: _redacted(name, value, properties.get(name, {}), hidden=False) for name, value in config.items()}


def scrub(text: str) -> str:
    """Return the text without the secrets that this process knows and without words or key blocks that have the shape
    of a credential."""
    text = KNOWN.replaced(text, REDACTED)
    if "PRIVATE KEY" in text:
        text = _KEY_BLOCK.sub(REDACTED, text)
    # Replace whole words, because a detector may report only a part of the credential.
    return re.sub(r"\S+", lambda word: REDACTED if has_secret_shape(word[0]) else word[0], text)


def scrub_within(value: Any) -> Any:
    """Return a JSON value with every string in it scrubbed."""
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {name: scrub_within(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [scrub_within(inner) for inner in value]
    return value


# -- walking ----------------------------------------------------------------------------------------------------------


def _secrets_in(name: str, value: Any, field: dict[str, Any], *, hidden: bool) -> Iterator[tuple[str, str]]:
    """Yield the raw secrets at and below an option. ``hidden``: an enclosing option is already known to be secret."""
    last = name.rpartition(".")[2].partition("[")[0]
    if is_env_reference(last, field) and isinstance(value, str):
        if has_secret_shape(value):
            yield name, "it should be the name of an environment variable, but looks like a secret"
        return
    declared = is_declared_secret(field)
    hidden = hidden or declared or is_secret_name(last)
    if isinstance(value, dict):
        below = field.get("properties", {}) if isinstance(field.get("properties"), dict) else {}
        for key, inner in value.items():
            yield from _secrets_in(f"{name}.{key}", inner, below.get(key, {}), hidden=hidden)
    elif isinstance(value, (list, tuple)):
        for position, inner in enumerate(value):
            yield from _secrets_in(f"{name}[{position}]", inner, {}, hidden=hidden)
    elif value is None or isinstance(value, bool) or value == "":
        return
    elif hidden:
        yield name, "its schema declares it a secret" if declared else "its name says that it is a secret"
    elif isinstance(value, str) and has_secret_shape(value):
        yield name, "its value has the shape of a well-known credential"


def _redacted(name: str, value: Any, field: dict[str, Any], *, hidden: bool) -> Any:
    if is_env_reference(name, field) and isinstance(value, str):
        return REDACTED if has_secret_shape(value) else value
    hidden = hidden or is_declared_secret(field) or is_secret_name(name)
    if isinstance(value, dict):
        below = field.get("properties", {}) if isinstance(field.get("properties"), dict) else {}
        return {key: _redacted(key, inner, below.get(key, {}), hidden=hidden) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(name, inner, {}, hidden=hidden) for inner in value]
    if value is None or isinstance(value, bool) or value == "":
        return value
    return REDACTED if hidden or (isinstance(value, str) and has_secret_shape(value)) else value


# -- shapes -----------------------------------------------------------------------------------------------------------


def _may_hold_secret(text: str) -> bool:
    if _WORTH_A_LOOK.search(text):
        return True
    return any(not is_plain_word(run) for run in _RUN.findall(text))


def is_plain_word(run: str) -> bool:
    """Whether the text consists of letters only, in the case and length of an ordinary word."""
    return len(run) <= _LONGEST_WORD and run.isalpha() and (run.islower() or run.istitle())


@cache
def _detectors() -> tuple[Any, ...]:
    package = "detect_secrets.plugins"
    return tuple(getattr(import_module(f"{package}.{module}"), name)() for module, name in _DETECTORS.items())
