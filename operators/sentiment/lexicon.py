"""Financial words and their sentiment from -4 to 4, in addition to VADER's lexicon.

The words and values are this project's. Any change requires a new `VERSION`, because scores contain the version.
"""

from __future__ import annotations

VERSION = "vader-3.3.2+finance-1"

_BY_VALUE: dict[float, str] = {
    3.0: "skyrockets skyrocketed soars soared soaring surge surges surged surging blockbuster",
    2.4: "beat beats beating outperform outperforms outperformed outperforming rally rallies rallied bullish",
    1.9: "upgrade upgrades upgraded rebound rebounds rebounded accretive outpaces outpaced profitable approval",
    1.4: "raises raised buyback buybacks repurchase dividend dividends rises rose climbs climbed expands record",
    0.9: "overweight tailwind tailwinds upside reaffirms reaffirmed acquires resumes stabilizes recovers recovered",
    -0.9: "underweight headwind headwinds delays delayed postpones postponed volatile uncertainty dilution dilutive",
    -1.4: "cuts falls fell slips slipped slides slid lowers lowered softness layoffs layoff probe probes subpoena",
    -1.9: "downgrade downgrades downgraded miss misses missed missing shortfall recall recalls recalled investigation",
    -2.4: "bearish slump slumps slumped plunge plunges plunged plunging tumbles tumbled lawsuit impairment writedown",
    -2.8: "restatement restates restated selloff halts halted delisting delisted downturn underperforms underperformed",
    -3.4: "bankruptcy bankrupt insolvency insolvent default defaults defaulted fraud fraudulent embezzlement collapses",
}
NEUTRAL = (
    *("gross", "share", "shares", "interest", "crude", "tax", "liability", "liabilities", "capital", "cost", "costs"),
    *(
        "debt",
        "debts",
        "vice",
        "fool",
        "united",
        "trust",
        "security",
        "securities",
        "energy",
        "credit",
        "mature",
        "avoid",
        "avoids",
        "natural",
    ),
)
"""Words that are positive or negative in VADER's lexicon, but neutral in a financial text."""

VALENCES: dict[str, float] = {word: value for value, words in _BY_VALUE.items() for word in words.split()}
