"""Find the symbols that a text mentions: `$AAPL`, `(NASDAQ: AAPL)`, and company names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

_TICKER = r"[A-Z][A-Z0-9]{0,5}(?:[.-][A-Z]{1,2})?"
_MARKED = re.compile(rf"\$({_TICKER})(?![\w.-]*\w)|\((?:NYSE|NASDAQ|Nasdaq|AMEX|NYSEARCA|OTC)\s*:\s*({_TICKER})\)")

Tagger = Callable[[str], list[str]]
"""Returns the symbols that a text mentions."""


class SymbolTagger:
    """Tag texts with symbols. `companies` maps each symbol to its company names.

    Names match whole words and ignore case. If one name contains another, the longest match counts.

    >>> tag = SymbolTagger({"AAPL": ["Apple"], "APLE": ["Apple Hospitality"], "F": ["Ford Motor"]}).tag
    >>> tag("apple hospitality falls, $TSLA and Apple's rival rise; pineapples (NYSE: F)")
    ['APLE', 'TSLA', 'AAPL', 'F']
    """

    def __init__(self, companies: Mapping[str, Sequence[str]]) -> None:
        self._symbol_of = {
            " ".join(name.lower().split()): symbol for symbol, names in companies.items() for name in names
        }
        longest_first = sorted(self._symbol_of, key=lambda name: (-len(name), name))
        words = "|".join(r"\s+".join(map(re.escape, name.split())) for name in longest_first if name)
        self._names = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE) if words else None

    def tag(self, text: str) -> list[str]:
        """Return each mentioned symbol once, in order of its first mention."""
        mentions = [(match.start(), match[1] or match[2]) for match in _MARKED.finditer(text)]
        if self._names is not None:
            matches = self._names.finditer(text)
            mentions += [(match.start(), self._symbol_of[" ".join(match[0].lower().split())]) for match in matches]
        return list(dict.fromkeys(symbol for _, symbol in sorted(mentions)))
