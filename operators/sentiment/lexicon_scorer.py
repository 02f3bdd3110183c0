"""A text's tone by lexicon: VADER's rules (negation, degrees, "but", capitals) over its words and those of finance.

Source: C. J. Hutto, E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014.
"""

from __future__ import annotations

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from operators.sentiment.lexicon import NEUTRAL, WORDS

TEXT_MAX = 2000  # characters: VADER's cost grows with the square of the words


class LexiconScorer:
    """`polarity` of a text: `compound` in [-1, 1] and the shares `neg`, `neu`, `pos`.

    >>> LexiconScorer().parts("Profit beats estimates")["compound"] > 0.5
    True
    >>> LexiconScorer().parts("The company did not beat estimates")["compound"] < 0
    True
    """

    def __init__(self) -> None:
        self._analyzer = SentimentIntensityAnalyzer()
        lexicon = self._analyzer.lexicon
        for word in NEUTRAL:
            lexicon.pop(word, None)
        lexicon.update(WORDS)

    def polarity(self, text: str) -> dict[str, float]:
        scores: dict[str, float] = self._analyzer.polarity_scores(text[:TEXT_MAX])
        return scores
