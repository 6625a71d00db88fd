"""Describes the endpoints of people and sessions for the OpenAPI document; each view method wears one of these."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from accounts.models import Status
from accounts.selectors import PictureNotFound, SessionHasEnded, UserNotFound
from accounts.serializers import (
    LoginSerializer,
    PasswordSerializer,
    PictureSerializer,
    ProfileSerializer,
    RefreshSerializer,
    RegisterSerializer,
    SearchSerializer,
    StatusSerializer,
)
from accounts.services import InvalidCredentials
from accounts.sessions import RefreshInProgress, RefreshTokenReused, SessionNotFound
from accounts.tokens import InvalidRefreshToken, InvalidToken, TokenExpired
from chatproject.errors import InvalidInput
from chatproject.limits import RateLimited
from chatproject.openapi import BODY, NOTHING, NotAuthenticated, answered, errors, id_in_path, sent

AUTHENTICATION = (NotAuthenticated, InvalidToken, TokenExpired, SessionHasEnded)
"""What every endpoint that asks for an access token may answer; for the documents of other apps too."""


class UserSerializer(serializers.Serializer[Any]):
    """A person, as `representation.user_body` writes them."""

    id = serializers.UUIDField()
    username = serializers.CharField()
    email = serializers.EmailField(required=False, help_text="Only there when the user is yourself.")
    profilePic = serializers.CharField(allow_null=True, help_text="A URL, or a path on this server.")  # noqa: N815
    status = serializers.ChoiceField(Status.values)
    lastSeen = serializers.DateTimeField(allow_null=True)  # noqa: N815


class TokensSerializer(serializers.Serializer[Any]):
    """The tokens of a session."""

    accessToken = serializers.CharField(help_text="A JWT, for `Authorization: Bearer`.")  # noqa: N815
    refreshToken = serializers.CharField(help_text="Opaque; good for one exchange.")  # noqa: N815
    expiresIn = serializers.IntegerField(help_text="Seconds until the access token expires.")  # noqa: N815


class SignedInSerializer(TokensSerializer):
    """A user and the tokens of the session just opened."""

    user = UserSerializer()


class SessionSerializer(serializers.Serializer[Any]):
    """A place where the user is signed in."""

    id = serializers.UUIDField()
    createdAt = serializers.DateTimeField()  # noqa: N815
    lastUsedAt = serializers.DateTimeField()  # noqa: N815
    expiresAt = serializers.DateTimeField()  # noqa: N815
    userAgent = serializers.CharField()  # noqa: N815
    ipAddress = serializers.CharField()  # noqa: N815
    current = serializers.BooleanField(help_text="Whether it is the session that asks.")


class SessionsSerializer(serializers.Serializer[Any]):
    """All live sessions of the user."""

    sessions = SessionSerializer(many=True)


class UsersSerializer(serializers.Serializer[Any]):
    """People found."""

    users = UserSerializer(many=True)


ID = "019a8c3e-4f60-7d15-8a3b-2c9d1e5f7a10"
OTHER_ID = "019a8c40-1b22-7e03-b5c4-90d8f3a6e721"
OTHER = {
    "id": OTHER_ID,
    "username": "grace",
    "profilePic": None,
    "status": "away",
    "lastSeen": "2026-01-31T12:00:00.000Z",
}
ME = {
    "id": ID,
    "username": "ada",
    "email": "ada@example.org",
    "profilePic": f"/user/{ID}/picture?v=Zk3pXw0vT1qk5m9sYb2LdA",
    "status": "online",
    "lastSeen": "2026-01-31T12:00:04.250Z",
}
TOKENS = {
    "accessToken": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIwMTlhOGMzZSJ9.4Qm1T0k9yq3w",
    "refreshToken": "AZqMPl0LfEGfLmsfDJ0qEcS0f1b7m2yqv8o3r6t1u4w7x0z3B6E9H2K5N8Q1T4W7Z0c3f6i9l2o5r8u1x4A7D0",
    "expiresIn": 600,
}
SESSION = {
    "id": "019a8c41-77aa-7c1d-9e20-5b8f4d3c2a19",
    "createdAt": "2026-01-31T09:30:00.000Z",
    "lastUsedAt": "2026-01-31T11:58:12.480Z",
    "expiresAt": "2026-03-02T11:58:12.480Z",
    "userAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "ipAddress": "203.0.113.7",
    "current": True,
}


_ME = answered(UserSerializer, ME, "Yourself.")
_TOKENS = answered(TokensSerializer, TOKENS, "The new tokens.")
_SIGNED_IN = {"user": ME, **TOKENS}


register = extend_schema(
    operation_id="register",
    summary="Create an account and sign in",
    tags=["auth"],
    request=RegisterSerializer,
    responses={
        201: answered(SignedInSerializer, _SIGNED_IN, "The new user, signed in."),
        **errors(*BODY, RateLimited),
    },
    examples=[sent("ada", {"username": "ada", "email": "ada@example.org", "password": "correct horse battery staple"})],
)
login = extend_schema(
    operation_id="login",
    summary="Sign in",
    description="With exactly one of `email` and `username`. Unknown name and wrong password get the same answer.",
    tags=["auth"],
    request=LoginSerializer,
    responses={
        200: answered(SignedInSerializer, _SIGNED_IN, "Signed in."),
        **errors(*BODY, InvalidCredentials, RateLimited),
    },
    examples=[
        sent("by e-mail", {"email": "ada@example.org", "password": "correct horse battery staple"}),
        sent("by username", {"username": "ada", "password": "correct horse battery staple"}),
    ],
)
refresh = extend_schema(
    operation_id="refreshTokens",
    summary="Exchange the refresh token for new tokens",
    description=(
        "Each refresh token is good for one exchange. Of parallel calls with the same token one succeeds, the others "
        "get `refresh_in_progress`; using a token again later ends the session (`refresh_token_reused`)."
    ),
    tags=["auth"],
    request=RefreshSerializer,
    responses={
        200: _TOKENS,
        **errors(*BODY, InvalidRefreshToken, RefreshTokenReused, RefreshInProgress, SessionHasEnded, RateLimited),
    },
    examples=[sent("refresh", {"refreshToken": TOKENS["refreshToken"]})],
)
logout = extend_schema(
    operation_id="logout",
    summary="Sign out: end this session and close its sockets",
    tags=["auth"],
    request=None,
    responses={204: NOTHING, **errors(*BODY, *AUTHENTICATION)},
)
password = extend_schema(
    operation_id="changePassword",
    summary="Change the password",
    description="Every other session ends. This one goes on with the new tokens; its old refresh token is void.",
    tags=["auth"],
    request=PasswordSerializer,
    responses={200: _TOKENS, **errors(*BODY, *AUTHENTICATION, RateLimited)},
    examples=[
        sent(
            "change",
            {"currentPassword": "correct horse battery staple", "newPassword": "seven purple otters at dawn"},
        )
    ],
)
session_list = extend_schema(
    operation_id="listSessions",
    summary="List where you are signed in",
    tags=["auth"],
    responses={
        200: answered(SessionsSerializer, {"sessions": [SESSION]}, "Your live sessions, the newest first."),
        **errors(*AUTHENTICATION),
    },
)
session_end = extend_schema(
    operation_id="endSession",
    summary="End one of your sessions and close its sockets",
    tags=["auth"],
    parameters=[id_in_path("session_id", "A session of `GET /auth/sessions`.")],
    responses={204: NOTHING, **errors(*AUTHENTICATION, SessionNotFound)},
)
me = extend_schema(
    operation_id="getMe",
    summary="Get yourself",
    tags=["user"],
    responses={200: _ME, **errors(*AUTHENTICATION)},
)
me_change = extend_schema(
    operation_id="updateMe",
    summary="Change your profile",
    description="What is absent stays. A name or address in use gives the field error `taken`.",
    tags=["user"],
    request=ProfileSerializer,
    responses={200: _ME, **errors(*BODY, *AUTHENTICATION)},
    examples=[sent("rename", {"username": "ada.lovelace"}), sent("no picture", {"profilePic": None})],
)
picture_set = extend_schema(
    operation_id="setPicture",
    summary="Upload your picture",
    description="It is cut to a square of 256 pixels and stored as WebP without metadata.",
    tags=["user"],
    request={"multipart/form-data": PictureSerializer},
    responses={200: _ME, **errors(*BODY, *AUTHENTICATION, RateLimited)},
)
status = extend_schema(
    operation_id="setStatus",
    summary="Choose the status that others see while you are connected",
    description="`offline` makes you invisible.",
    tags=["user"],
    request=StatusSerializer,
    responses={200: _ME, **errors(*BODY, *AUTHENTICATION)},
    examples=[sent("away", {"status": "away"})],
)
search = extend_schema(
    operation_id="searchUsers",
    summary="Find people by the begin of their username, or by their whole e-mail address",
    tags=["user"],
    parameters=[SearchSerializer],
    responses={
        200: answered(UsersSerializer, {"users": [OTHER]}, "Active users, by name, without yourself."),
        **errors(InvalidInput, *AUTHENTICATION, RateLimited),
    },
)
user = extend_schema(
    operation_id="getUser",
    summary="Get somebody",
    tags=["user"],
    parameters=[id_in_path("user_id", "A user.")],
    responses={200: answered(UserSerializer, OTHER, "The user."), **errors(*AUTHENTICATION, UserNotFound)},
)
picture = extend_schema(
    operation_id="getPicture",
    summary="Get somebody's uploaded picture",
    description=(
        "A user's `profilePic` is this path. An `<img>` sends no token, so it needs none: `v` cannot be guessed."
    ),
    tags=["user"],
    auth=[],
    parameters=[
        id_in_path("user_id", "A user."),
        OpenApiParameter("v", str, OpenApiParameter.QUERY, required=True, description="The picture's version."),
    ],
    responses={
        (200, "image/webp"): OpenApiResponse(OpenApiTypes.BINARY, description="The picture; it never changes."),
        **errors(PictureNotFound),
    },
)
