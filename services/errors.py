"""Errors of the running system: each is one sentence for the user, a stable code, and a way out."""

__all__ = ["InvalidSetting", "ServiceError", "code_of", "sentence_of"]


class ServiceError(Exception):
    """Parcours cannot go on. The message says why, and what to do."""

    code = "service_error"

    def __str__(self) -> str:
        """The sentence: the one given when it was raised, or else the one of its class."""
        return super().__str__() or (type(self).__doc__ or "").strip()


class InvalidSetting(ValueError):
    """A setting has a value that cannot be used. Change the named variable."""

    code = "invalid_setting"


def sentence_of(error: BaseException) -> str:
    """The error as one line for a person: its own message, or its class's sentence, or at least its kind."""
    text = " ".join(str(error).split())
    if not text and hasattr(error, "code"):
        text = " ".join((type(error).__doc__ or "").split())
    return text or f"An unexpected {type(error).__name__} occurred. Start with PARCOURS_LOG_LEVEL=DEBUG to see where."


def code_of(error: BaseException) -> str:
    """The stable code of an error; ``unexpected`` for those that have none."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else "unexpected"
