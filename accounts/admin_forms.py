"""The forms of the administration's user pages: the rules of the API, in the shape of Django's forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.forms import AdminPasswordChangeForm, AdminUserCreationForm, UserChangeForm

from accounts import passwords, services
from accounts.models import User, normalize_email, username_key
from chatproject.limits import RateLimited, Rule, spend

if TYPE_CHECKING:
    _UserCreation = AdminUserCreationForm[User]
    _UserChange = UserChangeForm[User]
    _PasswordChange = AdminPasswordChangeForm[User]
else:
    _UserCreation, _UserChange, _PasswordChange = AdminUserCreationForm, UserChangeForm, AdminPasswordChangeForm


class SignInForm(AdminAuthenticationForm):
    """Signing in to the administration, counted by the same limits as the API's door."""

    def clean(self) -> dict[str, Any]:
        """Count the try, then check name and password."""
        try:
            spend(Rule.LOGIN, self.request.META.get("REMOTE_ADDR", "") if self.request else "")
            spend(Rule.LOGIN_ACCOUNT, username_key(self.cleaned_data.get("username") or ""))
        except RateLimited as error:
            raise forms.ValidationError(error.message, code=error.code) from error
        return super().clean()


class _NamesMixin:
    """Brings name and address into the form in which they are stored and compared before they are checked."""

    instance: User
    cleaned_data: dict[str, Any]

    def clean_username(self) -> str:
        """Return the normalised name. Raises `ValidationError` when it is taken, in whatever case."""
        name: str = AbstractBaseUser.normalize_username(self.cleaned_data["username"])
        if User.objects.filter(username_key=username_key(name)).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("This username is taken.", code="taken")
        return name

    def clean_email(self) -> str:
        """Return the normalised address. Raises `ValidationError` when it is taken."""
        email: str = normalize_email(self.cleaned_data["email"])
        if User.objects.filter(email=email).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError("This e-mail address is taken.", code="taken")
        return email


class _PasswordMixin:
    """Checks a password in the prepared form in which it is hashed."""

    cleaned_data: dict[str, Any]

    def validate_password_for_user(self, user: User, **kwargs: Any) -> None:
        """Run the validators on the prepared password."""
        if password := self.cleaned_data.get("password2"):
            self.cleaned_data["password2"] = passwords.prepare(password)
        super().validate_password_for_user(user, **kwargs)  # type: ignore[misc]


class UserAddForm(_NamesMixin, _PasswordMixin, _UserCreation):
    """A new user, with a password or without one."""

    class Meta:
        model = User
        fields = ("username", "email")

    def save(self, commit: bool = True) -> User:
        """Store the user through the service, whatever `commit` is."""
        data = self.cleaned_data
        password = data["password1"] if data["set_usable_password"] else None
        self.instance = services.create_user(username=data["username"], email=data["email"], password=password)
        return self.instance

    def save_m2m(self) -> None:
        """Do nothing: a new user has no groups."""


class UserEditForm(_NamesMixin, _UserChange):
    """A user's name, address and rights."""

    class Meta:
        model = User
        fields = ("username", "email", "is_staff", "is_superuser", "groups", "user_permissions")


class PasswordForm(_PasswordMixin, _PasswordChange):
    """Another password for somebody, or none; either way their sessions end."""

    def save(self, commit: bool = True) -> User:
        """Store it through the service, whatever `commit` is, and return the user with it."""
        if self.cleaned_data["set_usable_password"]:
            services.set_password(user_id=self.user.pk, new_password=self.cleaned_data["password1"])
        else:
            services.withdraw_password(user_id=self.user.pk)
        self.user.refresh_from_db(fields=["password"])
        return self.user
