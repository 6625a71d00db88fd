"""Tests of access and refresh tokens; none touches the database."""

from __future__ import annotations

import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
import time_machine
from django.conf import settings as django_settings

from accounts import tokens
from accounts.tokens import InvalidRefreshToken, InvalidToken, TokenExpired
from chatproject.ids import uuid7

KEY = django_settings.SIMPLE_JWT["SIGNING_KEY"]
USER, SESSION = uuid7(), uuid7()


def forge(key: str = KEY, **changes: Any) -> str:
    """Return a token like ours but for some claims; None leaves one out."""
    claims = {
        "token_type": "access",
        "exp": int(datetime.now(UTC).timestamp()) + 600,
        "jti": "1",
        "sub": str(USER),
        "sid": str(SESSION),
        "iss": "parley",
        "aud": "parley",
    }
    claims.update(changes)
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, key, algorithm="HS256")


def base64url(raw: bytes) -> str:
    """Encode as a JWT does."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unsigned(header: dict[str, Any]) -> str:
    """Return a token with our claims and no signature."""
    return base64url(json.dumps(header).encode()) + "." + forge().split(".")[1] + "."


def signed_with_sha512() -> str:
    """Return a token signed with our key but not by our algorithm."""
    signed = unsigned({"alg": "HS512"}).removesuffix(".")
    return f"{signed}.{base64url(hmac.digest(KEY.encode(), signed.encode(), 'sha512'))}"


def test_an_access_token_says_who_and_through_which_session() -> None:
    """What is written is read again."""
    with time_machine.travel(datetime(2026, 1, 31, 12, tzinfo=UTC), tick=False):
        claims = tokens.read_access_token(tokens.new_access_token(user_id=USER, session_id=SESSION))

    assert claims == tokens.AccessClaims(
        user_id=USER, session_id=SESSION, expires_at=datetime(2026, 1, 31, 12, 10, tzinfo=UTC)
    )


def test_the_claims_of_an_access_token() -> None:
    """Exactly these claims, so that nothing about the person leaks into logs of tokens."""
    payload = jwt.decode(
        tokens.new_access_token(user_id=USER, session_id=SESSION), KEY, algorithms=["HS256"], audience="parley"
    )

    assert set(payload) == {"token_type", "exp", "jti", "sub", "sid", "iss", "aud"}


def test_a_forged_control_is_accepted() -> None:
    """The forgeries below fail for what is changed in them, not for the way they are made."""
    assert tokens.read_access_token(forge()).user_id == USER


FORGERIES = {
    "empty": "",
    "no token at all": "nonsense",
    "no base64": "a.b.c",
    "not ASCII": "é.é.é",
    "half a surrogate pair": "\ud800",
    "far too long": "x" * 5000,
    "deeply nested header": base64.urlsafe_b64encode(b"[" * 700).decode() + ".e30.e30",
    "another key": forge(key="another key that is long enough to sign with HS256 and so on"),
    "another algorithm": signed_with_sha512(),
    "another audience": forge(aud="another"),
    "no audience": forge(aud=None),
    "another issuer": forge(iss="another"),
    "no issuer": forge(iss=None),
    "no expiry": forge(exp=None),
    "no id": forge(jti=None),
    "no subject": forge(sub=None),
    "a subject that is no UUID": forge(sub="somebody"),
    "a subject that is a number": forge(sub=7),
    "no session": forge(sid=None),
    "a session that is a list": forge(sid=["x"]),
    "another type": forge(token_type="refresh"),
    "no type": forge(token_type=None),
    "alg none": unsigned({"alg": "none", "typ": "JWT"}),
    "alg None": unsigned({"alg": "None"}),
    "no signature": unsigned({"alg": "HS256"}),
    "keys from elsewhere": unsigned({"alg": "RS256", "jku": "https://example.org/keys"}),
    "no algorithm": unsigned({}),
}


@pytest.mark.parametrize("token", FORGERIES.values(), ids=FORGERIES.keys())
def test_other_access_tokens_are_refused(token: str) -> None:
    """Wrong key, algorithm, audience, issuer, type or claims, and what is no token at all (RFC 8725)."""
    with pytest.raises(InvalidToken):
        tokens.read_access_token(token)


def test_a_changed_payload_is_refused() -> None:
    """The signature covers the claims."""
    header, _, signature = tokens.new_access_token(user_id=USER, session_id=SESSION).split(".")
    payload = forge(sub=str(uuid7())).split(".")[1]

    with pytest.raises(InvalidToken):
        tokens.read_access_token(f"{header}.{payload}.{signature}")


def test_an_access_token_expires_after_ten_minutes() -> None:
    """Its time ends to the second, and the error tells it apart from a forgery."""
    start = datetime(2026, 1, 31, 12, tzinfo=UTC)
    with time_machine.travel(start, tick=False):
        token = tokens.new_access_token(user_id=USER, session_id=SESSION)
    with time_machine.travel(start + timedelta(seconds=599), tick=False):
        tokens.read_access_token(token)

    with time_machine.travel(start + timedelta(seconds=600), tick=False), pytest.raises(TokenExpired):
        tokens.read_access_token(token)


def test_a_server_with_a_slow_clock_takes_a_fresh_token() -> None:
    """Clocks of two servers differ; nothing in a token says that it is too young."""
    with time_machine.travel(datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC), tick=False):
        token = tokens.new_access_token(user_id=USER, session_id=SESSION)

    with time_machine.travel(datetime(2026, 1, 31, 12, tzinfo=UTC), tick=False):
        assert tokens.read_access_token(token).session_id == SESSION


def test_a_refresh_token_leads_to_its_session() -> None:
    """The id inside is proven by the tag."""
    token = tokens.new_refresh_token(session_id=SESSION)

    assert len(token) == tokens.REFRESH_TOKEN_LENGTH
    assert tokens.read_refresh_token(token) == SESSION
    assert len(tokens.hash_refresh_token(token)) == 32


def test_no_two_refresh_tokens_are_alike() -> None:
    """The same session gets another secret each time."""
    assert tokens.new_refresh_token(session_id=SESSION) != tokens.new_refresh_token(session_id=SESSION)


def test_every_bit_of_a_refresh_token_is_checked() -> None:
    """A flipped bit anywhere, in id, secret or tag, makes it a token that was never issued."""
    raw = base64.urlsafe_b64decode(tokens.new_refresh_token(session_id=SESSION) + "==")
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        with pytest.raises(InvalidRefreshToken):
            tokens.read_refresh_token(base64.urlsafe_b64encode(changed).rstrip(b"=").decode())


@pytest.mark.parametrize("token", ["", "x", "A" * 85, "A" * 86, "A" * 87, "é" * 86, "\ud800" * 86, " " * 86, "=" * 86])
def test_other_refresh_tokens_are_refused(token: str) -> None:
    """Wrong length, alphabet or tag."""
    with pytest.raises(InvalidRefreshToken):
        tokens.read_refresh_token(token)


def test_refresh_tokens_depend_on_the_signing_key(settings: Any) -> None:
    """Another deployment's tokens, and those from before a change of the key, are void."""
    token = tokens.new_refresh_token(session_id=SESSION)
    settings.SIMPLE_JWT = {**settings.SIMPLE_JWT, "SIGNING_KEY": "another key"}

    with pytest.raises(InvalidRefreshToken):
        tokens.read_refresh_token(token)


def test_another_spelling_of_the_same_bytes_is_the_same_token() -> None:
    """Base64's spare bits do not turn the token in force into one that looks reused."""
    token = tokens.new_refresh_token(session_id=UUID(int=1))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = token[:-1] + alphabet[alphabet.index(token[-1]) | 1]

    assert respelled != token
    assert tokens.hash_refresh_token(respelled) == tokens.hash_refresh_token(token)


def test_tokens_are_kept_out_of_reprs() -> None:
    """A pair that ends up in a traceback or log line shows no token."""
    pair = tokens.TokenPair(access_token="aaa", refresh_token="rrr", expires_in=600)

    assert "aaa" not in repr(pair)
    assert "rrr" not in repr(pair)
