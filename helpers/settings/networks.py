"""Where a run's networks come from."""

from __future__ import annotations

from enum import StrEnum

from .errors import CourseError


class Networks(StrEnum):
    """Where a run's autoencoder and fine-tuned classifier come from.

    A member is a string: it compares equal to its value, and JSON writes it as that value.
    """

    TRAINED = "trained"
    """The run trains them."""
    SHIPPED = "shipped"
    """They are read from weights/."""
    AUTO = "auto"
    """From weights/ where it has what this run would train, otherwise trained."""

    @classmethod
    def parse(cls, text: str) -> Networks:
        """Return the member with this value.

        Raises:
            CourseError: there is none.
        """
        try:
            return cls(text)
        except ValueError:
            raise CourseError(f"unknown networks {text!r}; choose {', '.join(cls)}") from None
