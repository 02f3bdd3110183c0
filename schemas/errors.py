"""What can go wrong with data, and its fate.

    PlatformError
    ├── BadRecord          data that cannot be taken in: becomes a dead letter, the stream goes on
    │   ├── Undecodable    bytes that are not Confluent-framed Avro of a known schema
    │   └── InvalidField   a decoded value that breaks a rule of its field
    ├── BadInput           a setting, file or argument of a caller: one sentence, exit code 2 or a 4xx
    ├── TooManyDeadLetters  a flow that loses too much of its input: it halts until a person lets it go on
    └── Unavailable        the environment did not answer in time: the worker stops, recovery replays

A broken invariant is an `assert`, not one of these.
"""


class PlatformError(Exception):
    """Root of all errors that the platform raises on purpose. The message is one sentence for a person."""


class BadRecord(PlatformError):
    """Data that cannot be taken in."""


class Undecodable(BadRecord):
    """Bytes that are not Confluent-framed Avro of a known schema."""


class InvalidField(BadRecord):
    """A decoded value that breaks a rule: says field, expectation and what was found."""


class BadInput(PlatformError):
    """A caller's setting, file or argument is wrong."""


class TooManyDeadLetters(PlatformError):
    """So much of a flow was set aside that the rest must not be acted on."""


class Unavailable(PlatformError):
    """A service did not answer within the bound."""
