"""Score a text with a lexicon: VADER's rules (negation, degrees, "but", capitals) with additional financial words.

Source: C. J. Hutto, E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014.
"""

from __future__ import annotations

from functools import cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from operators.sentiment.lexicon import NEUTRAL, VALENCES

TEXT_MAX = 2000  # characters; VADER's run time grows with the square of the number of words


class LexiconScorer:
    """Score texts. `polarity` returns `compound` in [-1, 1] and the shares `neg`, `neu` and `pos`.

    >>> LexiconScorer().polarity("Profit beats estimates")["compound"] > 0.5
    True
    >>> LexiconScorer().polarity("The company did not beat estimates")["compound"] < 0
    True
    """

    def polarity(self, text: str) -> dict[str, float]:
        scores: dict[str, float] = _analyzer().polarity_scores(text[:TEXT_MAX])
        return scores


@cache
def _analyzer() -> SentimentIntensityAnalyzer:
    """Return VADER's analyzer with the financial words. It has no state, and reading its lexicon takes 8 ms."""
    analyzer = SentimentIntensityAnalyzer()
    for word in NEUTRAL:
        analyzer.lexicon.pop(word, None)
    analyzer.lexicon.update(VALENCES)
    return analyzer
