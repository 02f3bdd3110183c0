"""Settings of the sentiment service."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class LlmSettings:
    """A language model at an OpenAI-compatible `base_url` (such as `http://127.0.0.1:8080/v1`), called per headline.

    Used by the stage:
    * `timeout_s`: seconds of event time after which the lexicon scores a headline without a response.
    * `waiting_max`: maximum number of headlines that wait for a response.

    Used by the client:
    * `request_timeout_s`: seconds of wall-clock time per attempt. `retries`: number of further attempts.
    * `requests_per_day`, `tokens_per_day`: limits per UTC day. `answer_tokens_max`: maximum tokens of one response.

    Raises BadInput for a value out of range.
    """

    enabled: bool = False
    base_url: str = ""
    model: str = ""
    timeout_s: float = 15.0
    waiting_max: int = 1000
    request_timeout_s: float = 5.0
    retries: int = 2
    requests_per_day: int = 2000
    tokens_per_day: int = 1_000_000
    answer_tokens_max: int = 500

    def __post_init__(self) -> None:
        if self.enabled and not (self.base_url.startswith(("http://", "https://")) and self.model):
            raise BadInput(
                "sentiment.llm.enabled requires a model and a base_url that starts with http:// or https://, "
                f"found model {self.model!r} and base_url {self.base_url!r}"
            )
        for name in ("timeout_s", "request_timeout_s"):
            if not getattr(self, name) > 0:
                raise BadInput(f"sentiment.llm.{name} must be > 0, found {getattr(self, name)}")
        for name in ("waiting_max", "answer_tokens_max"):
            if getattr(self, name) < 1:
                raise BadInput(f"sentiment.llm.{name} must be >= 1, found {getattr(self, name)}")
        for name in ("retries", "requests_per_day", "tokens_per_day"):
            if getattr(self, name) < 0:
                raise BadInput(f"sentiment.llm.{name} must be >= 0, found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class SentimentSettings:
    """Settings of the sentiment stage. `remembered` is the number of recent news ids stored to discard duplicates."""

    remembered: int = 10_000
    llm: LlmSettings = field(default_factory=LlmSettings)

    def __post_init__(self) -> None:
        if self.remembered < 1:
            raise BadInput(f"sentiment.remembered must be >= 1, found {self.remembered}")
