"""The cost of a password check, which the integration tests lower."""

from __future__ import annotations

import argon2

from api.passwords import hash_password, verify_password


def test_a_password_check_needs_64_mib_and_three_passes() -> None:
    hash_ = hash_password("correct horse battery")
    parameters = argon2.extract_parameters(hash_)
    assert (parameters.type, parameters.memory_cost, parameters.time_cost) == (argon2.Type.ID, 65_536, 3)
    assert verify_password("correct horse battery", hash_)
    assert not verify_password("correct horse batterie", hash_)
    assert not verify_password("correct horse battery", None)
