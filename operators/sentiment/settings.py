"""How news are judged."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class LlmSettings:
    """A language model behind an OpenAI-compatible `base_url` (as `http://127.0.0.1:8080/v1`), asked for each headline.

    `timeout_s` is event time that the stage waits before the lexicon judges; at most `waiting_max` headlines wait at
    once. The rest is the asking edge's: `request_timeout_s` of wall clock for one try, `retries` after it, what a day
    (UTC) may cost in requests and tokens, and how many tokens one answer may have.
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
                "sentiment.llm.enabled needs base_url, beginning with http:// or https://, and model, "
                f"found {self.base_url!r} and {self.model!r}"
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
    """`remembered` news ids are kept to drop repeats of a headline."""

    remembered: int = 10_000
    llm: LlmSettings = field(default_factory=LlmSettings)

    def __post_init__(self) -> None:
        if self.remembered < 1:
            raise BadInput(f"sentiment.remembered must be >= 1, found {self.remembered}")
