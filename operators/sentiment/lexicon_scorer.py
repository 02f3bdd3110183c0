"""Score a text with a lexicon: VADER's rules (negation, degrees, "but", capitals) with additional financial words.

Source: C. J. Hutto, E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014.
"""

from __future__ import annotations

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

    def __init__(self) -> None:
        self._analyzer = SentimentIntensityAnalyzer()
        lexicon = self._analyzer.lexicon
        for word in NEUTRAL:
            lexicon.pop(word, None)
        lexicon.update(VALENCES)

    def polarity(self, text: str) -> dict[str, float]:
        scores: dict[str, float] = self._analyzer.polarity_scores(text[:TEXT_MAX])
        return scores
