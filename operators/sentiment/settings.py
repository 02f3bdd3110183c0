"""Settings of the sentiment service."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class LlmSettings:
    """A language model at an OpenAI-compatible API, called per headline. The first two limits apply in the stage, the
    others in the client. Raises BadInput for a value out of range.

    enabled            whether the language model scores headlines; otherwise a lexicon does
    base_url           address of the API, such as `http://127.0.0.1:8080/v1`; its key is the secret LLM_API_KEY
    model              name of the model
    timeout_s          [seconds of event time] time after which the lexicon scores a headline without a response
    waiting_max        [headlines] maximum number of headlines that wait for a response
    request_timeout_s  wall-clock time of one attempt
    retries            [attempts] number of further attempts
    requests_per_day   [requests] maximum number of requests per UTC day
    tokens_per_day     [tokens] maximum number of tokens per UTC day
    answer_tokens_max  [tokens] maximum length of one response
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
    """Settings of the sentiment stage.

    remembered  [ids] number of recent news ids that are stored to discard duplicates
    llm         the language model
    """

    remembered: int = 10_000
    llm: LlmSettings = field(default_factory=LlmSettings)

    def __post_init__(self) -> None:
        if self.remembered < 1:
            raise BadInput(f"sentiment.remembered must be >= 1, found {self.remembered}")
