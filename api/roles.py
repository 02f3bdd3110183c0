"""Who may do what. The table is the whole of it; `tests/integration/test_api_access.py` tries every cell."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    VIEWER = "viewer"
    TRADER = "trader"
    RISK = "risk"
    ADMIN = "admin"


class Permission(StrEnum):
    """The value is how a refusal calls it."""

    READ = "see the books and prices"
    VALIDATE = "ask risk about an order"
    TRADE = "submit orders"
    CANCEL = "cancel orders"
    BREAKER = "halt and release trading"
    AUDIT = "see the audit"
    USERS = "manage users"


_R, _P = Role, Permission
# A trader cannot release what risk has halted, and risk does not trade: it only takes away.
GRANTS: Mapping[Role, frozenset[Permission]] = {
    _R.VIEWER: frozenset({_P.READ}),
    _R.TRADER: frozenset({_P.READ, _P.VALIDATE, _P.TRADE, _P.CANCEL}),
    _R.RISK: frozenset({_P.READ, _P.VALIDATE, _P.CANCEL, _P.BREAKER, _P.AUDIT}),
    _R.ADMIN: frozenset(_P),
}
