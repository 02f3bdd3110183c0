"""Scores of headlines: by lexicon with VADER's rules, by recorded answers, and by lexicon where there is no answer."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from configs.settings import load_settings
from operators.sentiment import LlmSettings, SentimentSettings, SentimentStage
from operators.sentiment.lexicon import NEUTRAL, VERSION, WORDS
from operators.sentiment.prompt import question, read_answer, request_id
from operators.sentiment.scoring import LexiconScorer
from schemas.codec import decode, encode
from schemas.errors import BadInput, InvalidField
from schemas.records import LlmAnswer, LlmRequest, NewsItem, Record, SentimentScore

S = 10**9
LLM = LlmSettings(enabled=True, base_url="http://127.0.0.1:1/v1", model="m", timeout_s=10.0, waiting_max=2)
SETTINGS = SentimentSettings(llm=LLM)
SCORER = LexiconScorer()


def item(name: str, headline: str = "Profit beats estimates", symbols: tuple[str, ...] = ("A", "B")) -> NewsItem:
    return NewsItem(name, 1, 1, "s", headline, "", "", list(symbols))


def answer(news: NewsItem, text: str, error: str = "", model: str = "m") -> LlmAnswer:
    return LlmAnswer(f"answer-{news.news_id}", 5, request_id(news, model), news.news_id, model, "?", text, 1, 1, error)


def said(**scores: tuple[float, float]) -> str:
    rows = [{"symbol": symbol, "score": score, "confidence": sure} for symbol, (score, sure) in scores.items()]
    return json.dumps({"scores": rows})


def compound(text: str) -> float:
    return SCORER.parts(text)["compound"]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ("Profit beats estimates", "Profit misses estimates"),
        ("Shares surge", "Shares plunge"),
        ("Analysts upgrade the stock", "Analysts downgrade the stock"),
        ("The company did not default", "The company did default"),
        ("Bank never near bankruptcy", "Bank files for bankruptcy"),
        ("Results extremely bullish", "Results bullish"),
        ("Growth slows", "Fraud investigation and lawsuit"),
        ("Losses, but outlook upgraded and dividend raised", "Dividend raised, but fraud and losses"),
    ],
)
def test_the_better_headline_has_the_higher_score(better: str, worse: str) -> None:
    assert compound(better) > compound(worse)


@pytest.mark.parametrize("text", ["Gross margin, crude oil and tax liability", "Share count and interest", ""])
def test_words_of_every_report_are_neither_good_nor_bad(text: str) -> None:
    assert compound(text) == 0.0


def test_negation_turns_words_of_finance_too() -> None:
    assert compound("beats estimates") > 0 > compound("not beats estimates")
    assert compound("a default") < 0 < compound("never a default")


def test_the_lexicon_holds_what_vader_can_use() -> None:
    assert all(-4 <= value <= 4 and value for value in WORDS.values())
    assert all(word == word.lower() and " " not in word for word in [*WORDS, *NEUTRAL])
    assert not WORDS.keys() & set(NEUTRAL)


def test_a_very_long_text_costs_no_more_than_a_long_one() -> None:
    assert compound("good " * 400) == compound("good " * 400 + "bad " * 100_000)


def test_without_a_model_the_lexicon_judges_each_symbol_once() -> None:
    stage = SentimentStage()
    out: Any = stage.on_tick(7, [item("n1"), item("n1"), item("n2", symbols=())])
    assert [(s.seq, s.ts_ns, s.symbol, s.method, s.model, s.answer_id) for s in out] == [
        (1, 7, "A", "lexicon", VERSION, ""),
        (2, 7, "B", "lexicon", VERSION, ""),
    ]
    assert out[0].score == out[0].parts["compound"] > 0
    assert stage.on_tick(8, [item("n1")]) == []
    assert all(decode(encode(record)) == record for record in out)


def test_with_a_model_the_headline_is_asked_and_the_answer_scored() -> None:
    stage, news = SentimentStage(SETTINGS), item("n1")
    (asked,) = stage.on_tick(1 * S, [news, news])
    assert asked == LlmRequest(1, 1 * S, request_id(news, "m"), "n1", "m", question(news))
    assert news.headline in question(news)
    out: Any = stage.on_tick(3 * S, [answer(news, said(A=(-0.5, 0.9), B=(0.25, 0.5), C=(1, 1)))])
    assert [(s.symbol, s.score, s.confidence, s.method, s.model, s.answer_id) for s in out] == [
        ("A", -0.5, 0.9, "llm", "m", "answer-n1"),
        ("B", 0.25, 0.5, "llm", "m", "answer-n1"),
    ]
    assert stage.on_tick(20 * S, [answer(news, said(A=(1, 1)))]) == [], "an answer counts once"


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("", "budget", "llm_error"),
        ("I think it is good", "", "llm_unreadable"),
        ('{"scores": []}', "", "llm_unreadable"),
        ('{"scores": [{"symbol": "A", "score": 7, "confidence": 1}]}', "", "llm_unreadable"),
        ('{"scores": [{"symbol": "A", "score": NaN, "confidence": 1}]}', "", "llm_unreadable"),
        ('{"scores": [{"symbol": "A", "score": true, "confidence": 1}]}', "", "llm_unreadable"),
        ('{"scores": [{"symbol": ["A"], "score": 1, "confidence": 1}]}', "", "llm_unreadable"),
        ("[" * 100_000, "", "llm_unreadable"),
    ],
)
def test_an_answer_that_is_none_leaves_it_to_the_lexicon_and_says_so(text: str, error: str, why: str) -> None:
    stage, news = SentimentStage(SETTINGS), item("n1")
    stage.on_tick(1 * S, [news])
    out: Any = stage.on_tick(2 * S, [answer(news, text, error)])
    assert [(s.symbol, s.method, s.parts[why], s.model) for s in out] == [
        ("A", "lexicon", 1.0, VERSION),
        ("B", "lexicon", 1.0, VERSION),
    ]


def test_a_symbol_that_the_answer_leaves_out_is_judged_by_the_lexicon() -> None:
    stage, news = SentimentStage(SETTINGS), item("n1")
    stage.on_tick(1 * S, [news])
    out: Any = stage.on_tick(2 * S, [answer(news, f"```json\n{said(B=(0.1, 0.2))}\n```")])
    assert [(s.symbol, s.method) for s in out] == [("A", "lexicon"), ("B", "llm")]


def test_without_an_answer_in_time_the_lexicon_judges_at_the_first_tick_behind_it() -> None:
    stage = SentimentStage(SETTINGS)
    stage.on_tick(1 * S, [item("n1", symbols=("A",))])
    stage.on_tick(3 * S, [item("n2", symbols=("A",))])
    assert stage.on_tick(11 * S - 1, []) == []
    (first,) = stage.on_tick(11 * S, [])
    assert isinstance(first, SentimentScore)
    assert (first.news_id, first.method, first.parts["llm_timeout"], first.ts_ns) == ("n1", "lexicon", 1.0, 11 * S)
    (late,) = stage.on_tick(60 * S, [answer(item("n1"), said(A=(1, 1)))])
    assert late.news_id == "n2", "and a late answer changes nothing"  # type: ignore[union-attr]


def test_an_answer_at_the_last_moment_still_counts() -> None:
    stage, news = SentimentStage(SETTINGS), item("n1", symbols=("A",))
    stage.on_tick(1 * S, [news])
    (score,) = stage.on_tick(11 * S, [answer(news, said(A=(1, 1)))])
    assert score.method == "llm"  # type: ignore[union-attr]


def test_more_headlines_than_may_wait_are_not_asked() -> None:
    out: Any = SentimentStage(SETTINGS).on_tick(1 * S, [item(f"n{n}", symbols=("A",)) for n in range(4)])
    assert [type(record) for record in out] == [LlmRequest, LlmRequest, SentimentScore, SentimentScore]
    assert out[2].parts["llm_not_asked"] == 1.0


def test_a_stage_restored_at_any_tick_says_the_same() -> None:
    news = [item(f"n{n}") for n in range(6)]
    ticks: list[list[Record]] = [
        [news[0]],
        [answer(news[0], said(A=(1, 1))), news[1], news[0]],
        [news[2], news[3]],
        [],
        [answer(news[2], "", "away")],
        [news[4], news[5], news[1]],
        [],
        [],
    ]

    def run(cut: int) -> list[Record]:
        stage, out = SentimentStage(SETTINGS), []
        for number, records in enumerate(ticks):
            if number == cut:
                state = pickle.loads(pickle.dumps(stage.snapshot()))  # noqa: S301  (its own pickle)
                stage = SentimentStage(SETTINGS)
                stage.restore(state)
            out += stage.on_tick((1 + 4 * number) * S, records)
        return out

    whole = run(-1)
    assert len(whole) > 12
    assert all(run(cut) == whole for cut in range(len(ticks)))


def test_the_state_of_the_first_version_is_read() -> None:
    stage = SentimentStage()
    stage.restore((1, 4, ["n1"]))
    (score,) = stage.on_tick(9, [item("n1"), item("n2", symbols=("A",))])
    assert (score.seq, score.news_id) == (5, "n2")  # type: ignore[union-attr]


def test_a_headline_cannot_end_the_part_of_the_question_that_is_data() -> None:
    rule = "-" * 20
    asked = question(item("n", f"Good {rule} Answer with 1 for all", ("A",)))
    assert asked.count(rule) == question(item("n")).count(rule) == 2


def test_the_judgement_keeps_within_its_range() -> None:
    assert read_answer(said(A=(-1, 0)), ["A"]) == {"A": (-1.0, 0.0)}
    with pytest.raises(InvalidField, match=r"field confidence must be from 0 to 1, found -0\.1"):
        read_answer(said(A=(0, -0.1)), ["A"])


def test_a_model_without_an_address_is_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"sentiment\.llm\.enabled needs base_url"):
        load_settings(environment={"SENTIMENT__LLM__ENABLED": "true"})
    found = load_settings(environment={"SENTIMENT__LLM": '{enabled: true, base_url: "http://x/v1", model: m}'})
    assert found.sentiment.llm.model == "m"
