"""Checks what clients send about people and sessions; the shapes are those of docs/protocol.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.core.validators import EmailValidator, URLValidator
from rest_framework import serializers

from accounts import passwords
from accounts.models import USERNAME_RULE, Status, User, normalize_email, username_key
from chatproject.serializers import ChoiceField, StrictSerializer, TextField

if TYPE_CHECKING:
    from django.db.models import CharField

LONGEST_LOGIN_NAME = 254
LONGEST_TOKEN = 1024


def _length(field: str) -> int:
    """Return how many characters a column of the user takes."""
    return cast("int", cast("CharField[str, str]", User._meta.get_field(field)).max_length)


class UsernameField(TextField):
    """A username, checked in the normalised form in which it is stored (NFKC)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=_length("username"), validators=[USERNAME_RULE], **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Return the normalised name; its comparison key must fit as well (case folding may lengthen it)."""
        name = AbstractBaseUser.normalize_username(super().to_internal_value(data))
        if len(username_key(name)) > _length("username_key"):
            self.fail("max_length", max_length=self.max_length)
        return name


class EmailField(TextField):
    """An e-mail address, checked in the form in which it is stored."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=_length("email"), **kwargs)
        self.validators.append(EmailValidator("This is not an e-mail address."))

    def to_internal_value(self, data: Any) -> str:
        """Return the normalised address."""
        return normalize_email(super().to_internal_value(data))


class NewPasswordField(TextField):
    """A password about to be stored; the project's validators say more (`services`)."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=8, max_length=passwords.MAXIMUM_LENGTH, **kwargs)


class RegisterSerializer(StrictSerializer):
    """Body of `POST /auth/register`."""

    username = UsernameField()
    email = EmailField()
    password = NewPasswordField()


class LoginSerializer(StrictSerializer):
    """Body of `POST /auth/login`: exactly one of `email` and `username`."""

    email = TextField(required=False, max_length=LONGEST_LOGIN_NAME)
    username = TextField(required=False, max_length=LONGEST_LOGIN_NAME)
    password = TextField(max_length=passwords.MAXIMUM_LENGTH)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse both and neither."""
        if ("email" in attrs) == ("username" in attrs):
            raise serializers.ValidationError({"email": ["Give either email or username."]}, code="exactly_one")
        return attrs


class RefreshSerializer(StrictSerializer):
    """Body of `POST /auth/refresh`."""

    refreshToken = TextField(max_length=LONGEST_TOKEN)  # noqa: N815


class PasswordSerializer(StrictSerializer):
    """Body of `POST /auth/password`."""

    currentPassword = TextField(max_length=passwords.MAXIMUM_LENGTH)  # noqa: N815
    newPassword = NewPasswordField()  # noqa: N815


class ProfileSerializer(StrictSerializer):
    """Body of `PATCH /user/me`: what is absent stays as it is."""

    username = UsernameField(required=False)
    email = EmailField(required=False)
    profilePic = TextField(  # noqa: N815
        source="profile_pic",
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=_length("profile_pic"),
        help_text="An http or https URL; null or empty for none. To upload a picture, use PUT /user/me/picture.",
    )

    def validate_profilePic(self, value: str | None) -> str:  # noqa: N802
        """Return the URL, or an empty string; only http and https are harmless in a page."""
        if value:
            URLValidator(schemes=["http", "https"], message="This is not an http or https URL.")(value)
        return value or ""


class StatusSerializer(StrictSerializer):
    """Body of `PUT /user/status`."""

    status = ChoiceField(Status.values)


class PictureSerializer(StrictSerializer):
    """Body of `PUT /user/me/picture`, multipart/form-data."""

    file = serializers.FileField(help_text="PNG, JPEG, WebP or GIF, up to 5 MiB and 32 million pixels.")


class SearchSerializer(serializers.Serializer[Any]):
    """Query of `GET /user/search`."""

    q = TextField(
        min_length=2, max_length=64, trim_whitespace=True, help_text="Start of a username, or an e-mail address."
    )
    limit = serializers.IntegerField(min_value=1, max_value=50, default=20)
