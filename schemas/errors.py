"""Errors of bad data and of the environment, and how they are handled.

    PlatformError
    ├── BadRecord          malformed data: becomes a dead letter, and the stream continues
    │   ├── Undecodable    bytes that are not Confluent-framed Avro of a known schema
    │   └── InvalidField   a decoded value that breaks a rule of its field
    ├── BadInput           a caller's invalid setting, file or argument: one sentence, exit code 2 or a 4xx
    ├── TooManyDeadLetters  a flow that rejects too much of its input: it is suspended until a user releases it
    └── Unavailable        a dependency did not respond in time: the worker stops, and recovery replays

A broken invariant is an `assert`, not one of these.
"""


class PlatformError(Exception):
    """Base of all errors that the platform raises deliberately. The message is one sentence for the user."""


class BadRecord(PlatformError):
    """Malformed data."""


class Undecodable(BadRecord):
    """Bytes that are not Confluent-framed Avro of a known schema."""


class InvalidField(BadRecord):
    """A decoded value that breaks a rule. The message has the field, the expectation and what was found."""


class BadInput(PlatformError):
    """A caller's setting, file or argument is invalid."""


class TooManyDeadLetters(PlatformError):
    """A flow rejected too many records to continue safely."""


class Unavailable(PlatformError):
    """A dependency did not respond in time."""
