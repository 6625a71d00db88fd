"""The encrypted field type: text that is ciphertext in the database and everywhere behind it.

Saving seals the text with the chat's key and binds it to the row. Loading keeps the ciphertext; the first read of the
attribute decrypts it, so a query that never looks at the content decrypts nothing.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, overload
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core import checks
from django.core.exceptions import FieldError, ValidationError
from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.utils.functional import cached_property

from messaging import keys
from messaging.crypto import DecryptionError, UnknownMasterKey, is_sealed, seal, unseal

if TYPE_CHECKING:
    _BinaryField = models.BinaryField[Any, Any]
else:  # generic for the type checker alone
    _BinaryField = models.BinaryField


class Unreadable(DecryptionError):
    """The content of this one value cannot be decrypted; other rows are not concerned."""


class Sealed(bytes):
    """A ciphertext as it came from the database; tells it from text that is yet to be encrypted."""

    __slots__ = ()


class Restored(Sealed):
    """A ciphertext out of a backup, on its way to the database as it is: reading it does not decrypt it.

    Its key may not be there yet while the backup is loaded (`loaddata`).
    """

    __slots__ = ()


class _DecryptOnRead(DeferredAttribute):
    """The model attribute: holds text or a ciphertext, and gives text."""

    field: EncryptedField

    @overload
    def __get__(self, instance: None, cls: type | None = None) -> _DecryptOnRead: ...
    @overload
    def __get__(self, instance: models.Model, cls: type | None = None) -> str | None: ...
    def __get__(self, instance: models.Model | None, cls: type | None = None) -> _DecryptOnRead | str | None:
        if instance is None:
            return self
        value = self.field.held(instance)
        if isinstance(value, Sealed) and not isinstance(value, Restored):
            value = self.field.open(instance, value)
            instance.__dict__[self.field.attname] = value
        return value  # type: ignore[return-value]

    def __set__(self, instance: models.Model, value: str | bytes | None) -> None:
        instance.__dict__[self.field.attname] = value


class EncryptedField(_BinaryField):
    """Text under AES-256-GCM.

    `associated` names the attributes of the row that the ciphertext is bound to, beside the field's own name; they must
    not change once the row is saved. `key_of` names the attribute that holds the chat's id. Text is saved through its
    instance (`save`, `bulk_create`); `update`, `bulk_update` and look-ups by text raise `FieldError`.
    """

    descriptor_class = _DecryptOnRead

    def __init__(self, *args: Any, associated: tuple[str, ...], key_of: str, **kwargs: Any) -> None:
        self.associated = tuple(associated)
        self.key_of = key_of
        kwargs["editable"] = False
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> tuple[str, str, Any, dict[str, Any]]:
        """Return the field as migrations write it."""
        name, path, args, kwargs = super().deconstruct()
        kwargs.pop("editable", None)
        kwargs.update(associated=self.associated, key_of=self.key_of)
        return name, path, args, kwargs

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Add the check that the ciphertext is bound to its row."""
        found = super().check(**kwargs)
        if "id" not in self.associated:
            found.append(checks.Error("EncryptedField must be bound to the row's id", obj=self, id="messaging.E001"))
        return found

    def get_default(self) -> Any:
        """Return text, where a binary field would give empty bytes."""
        default = super().get_default()
        return "" if default == b"" else default

    def held(self, instance: models.Model) -> str | bytes | None:
        """Return what the instance holds, text or ciphertext; a deferred value is fetched, with one query."""
        if self.attname not in instance.__dict__:
            rows = type(instance)._base_manager.using(instance._state.db).filter(pk=instance.pk)
            instance.__dict__[self.attname] = rows.values_list(self.attname, flat=True).get()
        return instance.__dict__[self.attname]  # type: ignore[no-any-return]

    @cached_property
    def _place(self) -> bytes:
        """The `table.column` that every ciphertext of this field is bound to."""
        return f"{self.model._meta.db_table}.{self.attname}".encode() + b"\0"

    def associated_data(self, instance: models.Model) -> bytes:
        """Return `table.column` and the bound ids, in their order, as the AEAD's associated data."""
        ids: list[UUID] = [getattr(instance, name) for name in self.associated]
        return self._place + b"".join(value.bytes for value in ids)

    def seal(self, cipher: AESGCM, text: str, ids: Iterable[UUID], *, nonce: bytes | None = None) -> Sealed:
        """Encrypt text for a row that is not an instance; `ids` are the values of `associated`, in their order."""
        associated_data = self._place + b"".join([value.bytes for value in ids])
        return Sealed(seal(cipher, text.encode("utf-8"), associated_data, nonce=nonce))

    def close(self, instance: models.Model, text: str) -> Sealed:
        """Encrypt text for this row."""
        ids = [getattr(instance, name) for name in self.associated]
        return self.seal(keys.cipher(getattr(instance, self.key_of)), text, ids)

    def open(self, instance: models.Model, value: Sealed) -> str:
        """Decrypt this row's value. Raises `Unreadable`."""
        try:
            cipher = keys.cipher(getattr(instance, self.key_of))
            return unseal(cipher, value, self.associated_data(instance)).decode("utf-8")
        except (DecryptionError, UnknownMasterKey, keys.KeyDestroyed, UnicodeDecodeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise Unreadable(f"{instance._meta.label} {instance.pk}: {reason}") from None

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Sealed | None:
        """Keep what the database holds as it is."""
        return None if value is None else Sealed(bytes(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Encrypt on the way to the database; a value that was never read goes back as it came."""
        value = self.held(model_instance)
        return self.close(model_instance, value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        """Let ciphertext pass, and nothing else: text has no row to be bound to here."""
        if value is not None and not isinstance(value, Sealed):
            raise FieldError(f"{self.name} is encrypted: save it through its instance; it cannot be looked up.")
        return super().get_prep_value(value)

    def value_from_object(self, obj: models.Model) -> Any:
        """Return what the object holds, for `value_to_string`; nothing is decrypted for it."""
        return self.held(obj)

    def value_to_string(self, obj: models.Model) -> str:
        """Serialise the ciphertext, never the text (`dumpdata`)."""
        value = self.pre_save(obj, add=False)
        return "" if value is None else b64encode(value).decode("ascii")

    def to_python(self, value: Any) -> Any:
        """Read what `value_to_string` wrote (`loaddata`). Raises `ValidationError`."""
        if isinstance(value, Sealed) or not value:
            return value or None
        try:
            restored = Restored(b64decode(value, validate=True))
        except (TypeError, ValueError):
            restored = Restored()
        if not is_sealed(restored):
            raise ValidationError(f"{self.name} is encrypted: a backup holds its ciphertext.", code="not_sealed")
        return restored

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        """Leave text alone: its rules are the services'."""
        return value
