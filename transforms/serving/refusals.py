"""Why a request gets no answer, as the HTTP status and the sentence that its client reads."""

from __future__ import annotations


class RequestError(ValueError):
    """A request that is refused.

    Args:
        message: Names the field, what was expected and what was received.
        status: The HTTP status, as TensorFlow Serving maps its own codes (400 for INVALID_ARGUMENT, 404 for NOT_FOUND,
            503 for UNAVAILABLE).
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
