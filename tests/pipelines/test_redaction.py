"""No secret in report, log or error."""

from __future__ import annotations

import pytest
from headrace.pipelines.redaction import HIDDEN, is_secret_name, redact, redact_parameters, redact_url
from hypothesis import given
from hypothesis import strategies as st

SECRET_TEXTS = [
    ("postgresql+psycopg://ann:hunter2@db.local:5432/runs", "hunter2"),
    ("cloning https://ghuser:hunter2@host/x.git failed", "hunter2"),
    ("a token as user: https://hunter2hunter2@host/x", "hunter2"),
    ("postgresql://ann:p%40ss@w0rd@db/runs", "w0rd"),
    ("password=hunter2", "hunter2"),
    ("password: hunter2, user: ann", "hunter2"),
    ("{'password': 'hunter 2 words'}", "words"),
    ('{"api_key": "hunter2", "n": 1}', "hunter2"),
    ("DB_PASSWORD=hunter2 PATH=/bin", "hunter2"),
    ("--aws-secret-access-key=hunter2", "hunter2"),
    ("Authorization: Bearer abcdef.hunter2-zzz", "hunter2"),
    ("authorization: basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
    ("https://host/a?X-Amz-Signature=hunter2&x=1", "hunter2"),
    ("gs://b/o?access_token=hunter2", "hunter2"),
    ("https://acct.blob/x?sv=1&sig=hunter2%3D", "hunter2"),
    ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----", "hunter2"),
    ("-----BEGIN PRIVATE KEY-----\nhunter2 cut off", "hunter2"),
    ("key AKIA" + "ABCDEFGHIJKLMNOP here", "AKIA" + "ABCDEFGHIJKLMNOP"),
    ("ghp_" + "a1" * 18, "a1a1a1"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.hunter2", "hunter2"),
]


@pytest.mark.parametrize(("text", "secret"), SECRET_TEXTS)
def test_a_secret_in_a_text_is_hidden(text: str, secret: str) -> None:
    assert secret not in redact(text)
    assert HIDDEN in redact(text)
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "expected int64, received string: row 12, column 'key', value 'x'",
        "https://host:8080/path?page=2#here",
        "max_tokens=128 tokenizer=bert token_column='body'",
        "s3://bucket/user@host/part-0.parquet",
        "File \"/src/model.py\", line 3, in build_model\n    key = row['key']",
        "step Trainer: 3 epochs, loss=0.501",
        "password=None",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_known_values_are_hidden_wherever_they_stand() -> None:
    assert redact("got hunter2hunter2 back", known=["hunter2", "hunter2hunter2"]) == f"got {HIDDEN} back"


def test_url_keeps_what_helps() -> None:
    assert (
        redact_url("postgresql://ann:x@db:5432/runs?sslmode=require")
        == f"postgresql://{HIDDEN}@db:5432/runs?sslmode=require"
    )


def test_parameters_at_any_depth() -> None:
    given_ = {
        "learning_rate": 0.1,
        "password": "hunter2",
        "pin": {"secret": 1234},
        "nested": [{"client_secret": ["hunter2"]}, "https://u:hunter2@h/"],
        "use_token": True,
        "max_tokens": 7,
    }
    shown = redact_parameters(given_)
    assert "hunter2" not in repr(shown) and "1234" not in repr(shown)
    assert shown["learning_rate"] == 0.1 and shown["max_tokens"] == 7 and shown["use_token"] is True
    assert given_["password"] == "hunter2"


@given(st.text(max_size=200))
def test_redaction_never_fails_and_is_stable(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@given(st.text(alphabet=st.characters(codec="ascii", exclude_characters="\"'\\\n\r"), min_size=6, max_size=30))
def test_any_quoted_password_is_hidden(value: str) -> None:
    shown = redact(f'connect(user="ann", password="{value}")')
    assert shown == f'connect(user="ann", password="{HIDDEN}")'


def test_names() -> None:
    assert is_secret_name("clientSecret") and is_secret_name("AWS_SECRET_ACCESS_KEY") and is_secret_name("account-key")
    assert not is_secret_name("author") and not is_secret_name("tokens") and not is_secret_name("primary_key")
