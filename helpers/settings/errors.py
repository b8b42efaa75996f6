"""The error that is meant for the reader."""


class CourseError(Exception):
    """An error with a one-line message for the user: what is wrong, and what to do about it."""
