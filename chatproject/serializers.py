"""The strict base of every request body: no unknown fields, no values of another JSON type taken for the right one."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

REPORTED_UNKNOWN_FIELDS = 10
SHOWN_NAME_LENGTH = 64


class StrictSerializer(serializers.Serializer[Any]):
    """A body that must be an object with no fields but its own (OWASP API3:2023, mass assignment).

    An unknown field is reported under its name with the code `unknown_field`, beside what is wrong with the others.
    """

    default_error_messages = {"invalid": "Send an object."}  # noqa: RUF012

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated fields. Raises DRF's `ValidationError` with every problem there is."""
        problems: dict[str, Any] = {}
        if isinstance(data, dict):
            known = {name for name, field in self.fields.items() if not field.read_only}
            unknown = [str(name) for name in data if name not in known]
            error = serializers.ErrorDetail("There is no such field.", code="unknown_field")
            problems = {_printable(name): [error] for name in unknown[:REPORTED_UNKNOWN_FIELDS]}
        try:
            values = super().to_internal_value(data)
        except serializers.ValidationError as failure:
            if not problems or not isinstance(failure.detail, dict):
                raise
            problems.update(failure.detail)
        if problems:
            raise serializers.ValidationError(problems)
        return values


def _printable(name: str) -> str:
    """Return a client's field name so that it can be written as UTF-8 again (it may hold half a surrogate pair)."""
    return name[:SHOWN_NAME_LENGTH].encode("utf-8", "backslashreplace").decode()


class TextField(serializers.CharField):
    """A JSON string, kept byte for byte; NUL and half surrogate pairs are refused."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Refuse numbers, which DRF would turn into text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class ChoiceField(serializers.ChoiceField):
    """One of a few strings. The error does not repeat what was sent: it may not be writable as UTF-8."""

    def __init__(self, choices: Any, **kwargs: Any) -> None:
        super().__init__(choices, **kwargs)
        self.error_messages["invalid_choice"] = f"Use one of: {', '.join(map(str, self.choices))}."

    def to_internal_value(self, data: Any) -> Any:
        """Refuse anything but a string, which DRF would compare by its text."""
        if not isinstance(data, str):
            self.fail("invalid_choice", input="")
        return super().to_internal_value(data)


class IdField(serializers.UUIDField):
    """A UUID as a string; DRF would also take an integer."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse numbers."""
        if not isinstance(data, str):
            self.fail("invalid", value="")
        return super().to_internal_value(data)


class WholeNumberField(serializers.IntegerField):
    """A JSON integer; DRF would also take a string, a float or true."""

    def to_internal_value(self, data: Any) -> int:
        """Refuse every other type."""
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class EmptySerializer(StrictSerializer):
    """The body of a call that takes none: absent, or `{}`."""
