"""The codes of the second factor against the test vectors of RFC 6238 (appendix B, SHA-1)."""

from __future__ import annotations

import pytest

from api.second_factor import DIGITS, STEP_S, totp


@pytest.mark.parametrize(
    ("seconds", "eight_digits"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_the_rfc(seconds: int, eight_digits: str) -> None:
    assert totp(b"12345678901234567890", seconds // STEP_S) == eight_digits[-DIGITS:]
