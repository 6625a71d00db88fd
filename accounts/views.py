"""The REST door of people and sessions: each method parses, calls one service or selector, and shapes the answer."""

from __future__ import annotations

from django.http import HttpResponse
from rest_framework.parsers import MultiPartParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import pictures, representation, schema, selectors, services, sessions
from accounts.authentication import principal_of
from accounts.models import Status, User, normalize_email, username_key
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
from accounts.sessions import Device
from chatproject import ids
from chatproject.limits import Rule, spend
from chatproject.rest import AnyAccept, parse
from chatproject.serializers import EmptySerializer

PICTURE_CACHING = "private, max-age=31536000, immutable"
"""A new picture has a new URL."""


def _address(request: Request) -> str:
    return str(request.META.get("REMOTE_ADDR") or "")


def _device(request: Request) -> Device:
    return Device(user_agent=request.headers.get("User-Agent", ""), ip_address=_address(request))


def _own(user: User) -> Response:
    return Response(representation.user_body(user, viewer_id=user.pk))


class PublicView(APIView):
    """An endpoint for people who are not signed in: a stale token in the header does not matter."""

    authentication_classes = ()
    permission_classes = (AllowAny,)


class RegisterView(PublicView):
    """`POST /auth/register`."""

    @schema.register
    def post(self, request: Request) -> Response:
        """Create an account."""
        spend(Rule.REGISTER, _address(request))
        body = parse(RegisterSerializer, request.data)
        return _signed_in(services.register(**body, device=_device(request)), status=201)


class LoginView(PublicView):
    """`POST /auth/login`."""

    @schema.login
    def post(self, request: Request) -> Response:
        """Sign in."""
        spend(Rule.LOGIN, _address(request))
        body = parse(LoginSerializer, request.data)
        account = username_key(body["username"]) if "username" in body else normalize_email(body["email"])
        spend(Rule.LOGIN_ACCOUNT, account)
        return _signed_in(services.sign_in(**body, device=_device(request)))


def _signed_in(result: services.SignedIn, status: int = 200) -> Response:
    user = representation.user_body(result.user, viewer_id=result.user.pk)
    return Response({"user": user, **representation.tokens_body(result.tokens)}, status=status)


class RefreshView(PublicView):
    """`POST /auth/refresh`."""

    @schema.refresh
    def post(self, request: Request) -> Response:
        """Exchange a refresh token."""
        spend(Rule.REFRESH, _address(request))
        body = parse(RefreshSerializer, request.data)
        return Response(representation.tokens_body(sessions.refresh(refresh_token=body["refreshToken"])))


class LogoutView(APIView):
    """`POST /auth/logout`."""

    @schema.logout
    def post(self, request: Request) -> Response:
        """End the session at hand."""
        parse(EmptySerializer, request.data)
        principal = principal_of(request)
        sessions.sign_out(user_id=principal.user_id, session_id=principal.session_id)
        return Response(status=204)


class PasswordView(APIView):
    """`POST /auth/password`."""

    @schema.password
    def post(self, request: Request) -> Response:
        """Change the password."""
        principal = principal_of(request)
        spend(Rule.LOGIN_ACCOUNT, principal.user_id)
        body = parse(PasswordSerializer, request.data)
        tokens = services.change_password(
            user_id=principal.user_id,
            session_id=principal.session_id,
            current_password=body["currentPassword"],
            new_password=body["newPassword"],
        )
        return Response(representation.tokens_body(tokens))


class SessionListView(APIView):
    """`GET /auth/sessions`."""

    @schema.session_list
    def get(self, request: Request) -> Response:
        """List the user's live sessions."""
        principal = principal_of(request)
        found = selectors.sessions_of(user_id=principal.user_id)
        bodies = [representation.session_body(session, current_id=principal.session_id) for session in found]
        return Response({"sessions": bodies})


class SessionView(APIView):
    """`DELETE /auth/sessions/{id}`."""

    @schema.session_end
    def delete(self, request: Request, session_id: str) -> Response:
        """End one of the user's sessions."""
        sessions.end_session(user_id=principal_of(request).user_id, session_id=ids.parse(session_id))
        return Response(status=204)


class MeView(APIView):
    """`GET` and `PATCH /user/me`."""

    @schema.me
    def get(self, request: Request) -> Response:
        """Return the user."""
        return _own(principal_of(request).user)

    @schema.me_change
    def patch(self, request: Request) -> Response:
        """Change the profile."""
        changes = parse(ProfileSerializer, request.data)
        return _own(services.update_profile(user_id=principal_of(request).user_id, changes=changes))


class MyPictureView(APIView):
    """`PUT /user/me/picture`."""

    parser_classes = (MultiPartParser,)

    @schema.picture_set
    def put(self, request: Request) -> Response:
        """Store the uploaded picture."""
        principal = principal_of(request)
        spend(Rule.UPLOAD, principal.user_id)
        file = parse(PictureSerializer, request.data)["file"]
        return _own(pictures.set_picture(user_id=principal.user_id, file=file, size=file.size))


class StatusView(APIView):
    """`PUT /user/status`."""

    @schema.status
    def put(self, request: Request) -> Response:
        """Store the chosen status."""
        status = Status(parse(StatusSerializer, request.data)["status"])
        return _own(services.choose_status(user_id=principal_of(request).user_id, status=status))


class SearchView(APIView):
    """`GET /user/search`."""

    @schema.search
    def get(self, request: Request) -> Response:
        """Find people."""
        viewer_id = principal_of(request).user_id
        spend(Rule.SEARCH, viewer_id)
        query = parse(SearchSerializer, request.query_params.dict())
        found = selectors.search_users(query=query["q"], limit=query["limit"], viewer_id=viewer_id)
        return Response({"users": [representation.user_body(user, viewer_id=viewer_id) for user in found]})


class UserView(APIView):
    """`GET /user/{id}`."""

    @schema.user
    def get(self, request: Request, user_id: str) -> Response:
        """Return somebody."""
        user = selectors.get_user(user_id=ids.parse(user_id))
        return Response(representation.user_body(user, viewer_id=principal_of(request).user_id))


class PictureView(PublicView):
    """`GET /user/{id}/picture`."""

    content_negotiation_class = AnyAccept

    @schema.picture
    def get(self, request: Request, user_id: str) -> HttpResponse:
        """Return the picture's bytes."""
        content = selectors.picture_of(user_id=ids.parse(user_id), version=request.query_params.get("v", ""))
        return HttpResponse(content, content_type="image/webp", headers={"Cache-Control": PICTURE_CACHING})
