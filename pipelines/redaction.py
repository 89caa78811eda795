"""Taking secrets out of what people read: reports, logs, errors, the store's URL in a message.

What is hidden: the value of a name that says it is a secret (`password=`, `api_key:`, `Authorization: Bearer`), the
credentials and signed query arguments of a URL, private keys in PEM form, and tokens whose issuers gave them a
recognisable form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

HIDDEN = "***"

# A word of a name that makes its value a secret, whatever stands around it.
_SECRET_WORDS = frozenset(
    ("password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "credential", "credentials", "apikey")
)
# Two words that do so only together: `key` alone is a column, `api_key` is not.
_SECRET_PAIRS = frozenset(
    (first, "key")
    for first in ("api", "access", "private", "account", "encryption", "signing", "storage", "shared", "service")
)
# A last word by which the value only speaks about a secret, or about the tokens of a text: `secret_name`.
_ABOUT = frozenset(
    ("column", "columns", "name", "names", "count", "length", "size", "limit", "id", "ids", "index", "file", "path")
)

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# Every repetition that could begin anywhere is bounded, so that a log of one long line takes linear time.
_URL_CREDENTIALS = re.compile(
    r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.-]{0,30}://)[^\s/?#@:'\"]{0,400}(?::[^\s/?#'\"]{0,2000})?@(?=[^\s@])"
)
_URL_ARGUMENT = re.compile(r"(?P<name>[?&;][\w.-]{1,80}=)(?P<value>[^&;#\s'\"]+)")
_SIGNED_ARGUMENTS = frozenset(
    ("sig", "signature", "x-amz-signature", "x-goog-signature", "x-amz-security-token", "x-amz-credential", "key")
)

_ASSIGNMENT = re.compile(
    r"""(?P<name>["']?\b[A-Za-z][\w-]{0,80}["']?)"""
    r"""(?P<sign>[ \t]{0,8}(?:=(?!=)|:(?!//))[ \t]{0,8})"""
    r"""(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s,;&)\]}]+)"""
)
_NOTHING = frozenset(("None", "null", "True", "False", "true", "false", '""', "''"))
_AUTHORIZATION = re.compile(r"(?i)\b(?P<scheme>bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}")
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_KNOWN_FORMS = re.compile(
    r"\b(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS access key id
    r"|AIza[0-9A-Za-z_-]{35}"  # Google API key
    r"|ya29\.[0-9A-Za-z_-]{20,}"  # Google OAuth access token
    r"|gh[pousr]_[0-9A-Za-z]{36,}|github_pat_[0-9A-Za-z_]{22,}"
    r"|glpat-[0-9A-Za-z_-]{20,}"
    r"|xox[abeoprs]-[0-9A-Za-z-]{10,}"
    r"|hf_[0-9A-Za-z]{30,}"
    r"|sk-[0-9A-Za-z_-]{20,}"
    r"|eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]*"  # JSON Web Token
    r")"
)


def is_secret_name(name: str) -> bool:
    """Tells whether a parameter, setting or column of this name holds a secret.

    >>> [is_secret_name(n) for n in ("db_password", "apiKey", "HF_TOKEN", "max_tokens", "key", "secret_name")]
    [True, True, True, False, False, False]
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _ABOUT:
        return False
    if words[0] in ("authorization", "cookie"):
        return True
    return bool(_SECRET_WORDS.intersection(words)) or any(pair in _SECRET_PAIRS for pair in pairwise(words))


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Gives a text without the secrets in it.

    Args:
        text: A message, a traceback, lines of a log.
        known: Values known to be secret, such as those of a step's secret environment variables.

    >>> redact("cannot reach postgresql://ann:s3cret@db:5432/runs with password='s3cret'")
    "cannot reach postgresql://***@db:5432/runs with password='***'"
    """
    for value in sorted({value for value in known if len(value) >= 4}, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = _PEM.sub(HIDDEN, text)
    text = redact_url(text)
    text = _AUTHORIZATION.sub(lambda found: f"{found['scheme']} {HIDDEN}", text)
    text = _ASSIGNMENT.sub(_redact_assignment, text)
    return _KNOWN_FORMS.sub(HIDDEN, text)


def redact_url(url: str) -> str:
    """Gives a URL without its credentials and the secret arguments of its query; a text may hold several.

    >>> redact_url("s3://key:secret@bucket/a?X-Amz-Signature=ab12&part=1")
    's3://***@bucket/a?X-Amz-Signature=***&part=1'
    """
    return _URL_ARGUMENT.sub(_redact_argument, _URL_CREDENTIALS.sub(_redact_credentials, url))


def redact_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Gives parameters with the secret ones hidden, at any depth; what is not secret keeps its type.

    >>> redact_parameters({"epochs": 3, "api_key": "k-1", "store": {"url": "postgresql://u:p@h/d"}})
    {'epochs': 3, 'api_key': '***', 'store': {'url': 'postgresql://***@h/d'}}
    """
    return {name: _redact_value(value, is_secret_name(str(name))) for name, value in parameters.items()}


def _redact_value(value: Any, secret: bool) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {name: _redact_value(item, secret or is_secret_name(str(name))) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact_value(item, secret) for item in value]
    if secret:
        return HIDDEN
    return redact(value) if isinstance(value, str) else value


def _redact_credentials(found: re.Match[str]) -> str:
    return f"{found['scheme']}{HIDDEN}@"


def _redact_argument(found: re.Match[str]) -> str:
    name = found["name"][1:-1]
    secret = name.lower() in _SIGNED_ARGUMENTS or is_secret_name(name)
    return found["name"] + HIDDEN if secret else found[0]


def _redact_assignment(found: re.Match[str]) -> str:
    value = found["value"]
    if not is_secret_name(found["name"].strip("\"'")) or value in (
        "None",
        "null",
        "True",
        "False",
        "true",
        "false",
        '""',
        "''",
    ):
        return found[0]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{found['name']}{found['sign']}{quote}{HIDDEN}{quote}"
