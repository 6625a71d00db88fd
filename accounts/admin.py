"""The administration's pages of people and sessions; whatever ends a session goes through the services, so that its
sockets close at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts import services, sessions
from accounts.admin_forms import PasswordForm, SignInForm, UserAddForm, UserEditForm
from accounts.models import EndReason, Session, User, normalize_email, username_key
from accounts.selectors import name_begins_with
from chatproject import ids
from chatproject.admin_pages import MadeFilter, QuickAdmin, ReadOnlyAdmin

admin.site.site_header = admin.site.site_title = "Parley administration"
admin.site.index_title = "What there is"
admin.site.login_form = SignInForm

if TYPE_CHECKING:
    _UserAdmin = DjangoUserAdmin[User]
else:
    _UserAdmin = DjangoUserAdmin

PRIVILEGES = ("is_staff", "is_superuser", "groups", "user_permissions")


def find_person(term: str) -> User | None:
    """Return who has this name (in any case), e-mail address or id."""
    if user_id := ids.parse(term):
        return User.objects.filter(pk=user_id).first()
    match = Q(email=normalize_email(term)) if "@" in term else Q(username_key=username_key(term))
    return User.objects.filter(match).first()


def list_link(model: str, *, term: object, text: str) -> SafeString:
    """Return a link to the list of `app_model`, searched for `term`."""
    return format_html('<a href="{}?q={}">{}</a>', reverse(f"admin:{model}_changelist"), term, text)


@admin.register(User)
class UserAdmin(QuickAdmin, _UserAdmin):
    """People. Rights are the superusers' to give, and their accounts are changed by no one else."""

    form = UserEditForm
    add_form = UserAddForm
    change_password_form = PasswordForm
    ordering: ClassVar[Any] = ("username_key",)
    list_display = ("username", "email", "is_active", "is_staff", "date_joined", "last_login", "last_seen")
    list_filter: ClassVar[Any] = (MadeFilter, "is_active", "is_staff")
    query_filters = ("made", "is_active__exact", "is_staff__exact")
    search_help_text = "The beginning of a username, a whole e-mail address, or an id."
    filter_horizontal = ("groups", "user_permissions")
    readonly_fields = ("id", "is_active", "presence", "last_seen", "last_login", "date_joined", "belongings")
    actions = ("deactivate", "reactivate", "revoke_sessions")
    fieldsets = (
        (None, {"fields": ("id", "username", "email", "password", "is_active", "belongings")}),
        ("Rights", {"fields": PRIVILEGES}),
        ("Times", {"fields": ("presence", "last_seen", "last_login", "date_joined")}),
    )
    add_fieldsets = (
        (None, {"classes": ("wide",), "fields": ("username", "email", "usable_password", "password1", "password2")}),
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[User], search_term: str
    ) -> tuple[QuerySet[User], bool]:
        """Look a name's beginning, an address or an id up in its index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if user_id := ids.parse(term):
            return queryset.filter(pk=user_id), False
        match = Q(email=normalize_email(term)) if "@" in term else name_begins_with(username_key(term))
        return queryset.filter(match), False

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """Let nobody but superusers change a superuser."""
        allowed: bool = super().has_change_permission(request, obj)
        return allowed and (obj is None or not obj.is_superuser or _actor(request).is_superuser)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> tuple[str, ...]:
        """Let nobody but superusers give rights."""
        return self.readonly_fields if _actor(request).is_superuser else (*self.readonly_fields, *PRIVILEGES)

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Write the fields that were changed and no other: the rest may have moved on since the page was shown.

        A new user is stored by the form.
        """
        if not change:
            return
        columns = {field.name for field in User._meta.concrete_fields}
        changed = [name for name in form.changed_data if name in columns]
        if "username" in changed:
            changed.append("username_key")
        if changed:
            obj.save(update_fields=changed)

    @admin.display(description="belongs to them")
    def belongings(self, user: User) -> SafeString:
        """Link to what belongs to the user."""
        kinds = {
            "accounts_session": "Sessions",
            "messaging_membership": "Memberships",
            "messaging_message": "Messages sent",
            "messaging_attachment": "Attachments",
        }
        links = [list_link(model, term=user.pk, text=text) for model, text in kinds.items()]
        return format_html("{} · {} · {} · {}", *links)

    # --- Actions ------------------------------------------------------------------------------------------------------

    @admin.action(description="Deactivate: sign out everywhere, no signing in", permissions=["change"])
    def deactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Shut people out; nobody can shut themselves out."""
        others = queryset.exclude(pk=_actor(request).pk)
        if others.count() < queryset.count():
            self.message_user(request, "You cannot deactivate yourself.", messages.WARNING)
        self._each(request, others, lambda user: services.deactivate_user(user_id=user.pk), done="Deactivated")

    @admin.action(description="Reactivate: signing in works again", permissions=["change"])
    def reactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Let people in again."""
        self._each(request, queryset, lambda user: services.reactivate_user(user_id=user.pk), done="Reactivated")

    @admin.action(description="Revoke sessions: sign out everywhere", permissions=["change"])
    def revoke_sessions(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """End every session of these people."""

        def revoke(user: User) -> None:
            sessions.end_sessions(user_id=user.pk, reason=EndReason.REVOKED)

        self._each(request, queryset, revoke, done="Signed out")

    def _each(self, request: HttpRequest, users: QuerySet[User], change: Callable[[User], None], *, done: str) -> None:
        """Do something to each user that the administrator may change, and note it in the history."""
        changeable = [user for user in users if self.has_change_permission(request, user)]
        if len(changeable) < len(users):
            self.message_user(request, "Superusers are changed by superusers alone.", messages.WARNING)
        for user in changeable:
            change(user)
            self.log_change(request, user, f"{done}.")
        self.message_user(request, f"{done}: {len(changeable)}.", messages.SUCCESS)


def _actor(request: HttpRequest) -> User:
    return cast("User", request.user)


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    """Signed-in devices."""

    list_display = ("id", "user", "created_at", "refreshed_at", "expires_at", "ended_at", "end_reason", "ip_address")
    list_select_related: ClassVar[Any] = ("user",)
    fields = (*list_display, "user_agent")
    actions = ("revoke",)
    search_help_text = "A session's id, or a user's name, e-mail address or id."

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Session], search_term: str
    ) -> tuple[QuerySet[Session], bool]:
        """Look a session or its user up."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if person := find_person(term):
            return queryset.filter(user_id=person.pk), False
        session_id = ids.parse(term)
        return (queryset.filter(pk=session_id) if session_id else queryset.none()), False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Ask for the permission to change sessions, although no field of them can be."""
        return bool(request.user.has_perm("accounts.change_session"))

    @admin.action(description="Revoke: sign these devices out", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Session]) -> None:
        """End sessions; their sockets close."""
        ended = 0
        for session in queryset:
            ended += sessions.end_sessions(user_id=session.user_id, session_ids=[session.pk], reason=EndReason.REVOKED)
            self.log_change(request, session, "Revoked.")
        self.message_user(request, f"Signed out: {ended}.", messages.SUCCESS)
