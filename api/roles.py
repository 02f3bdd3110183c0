"""Roles and their permissions. `tests/integration/test_api_access.py` tests every combination."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

USERNAME_PATTERN = r"^[a-z][a-z0-9._-]{1,31}$"


class Role(StrEnum):
    VIEWER = "viewer"
    TRADER = "trader"
    RISK = "risk"
    ADMIN = "admin"


class Permission(StrEnum):
    """The value completes the error message "The role viewer may not …"."""

    READ = "read the portfolio, orders and prices"
    VALIDATE = "check orders against risk"
    TRADE = "submit orders"
    CANCEL = "cancel orders"
    BREAKER = "halt and release trading"
    CASH = "record cash transfers"
    CONFIGURE = "change settings"
    AUDIT = "read the audit log"
    USERS = "manage users"


_R, _P = Role, Permission
# A trader cannot release what risk halted, and cannot record cash, which is buying power. The role risk cannot add
# orders: it only reduces risk.
GRANTS: Mapping[Role, frozenset[Permission]] = {
    _R.VIEWER: frozenset({_P.READ}),
    _R.TRADER: frozenset({_P.READ, _P.VALIDATE, _P.TRADE, _P.CANCEL}),
    _R.RISK: frozenset({_P.READ, _P.VALIDATE, _P.CANCEL, _P.BREAKER, _P.CASH, _P.CONFIGURE, _P.AUDIT}),
    _R.ADMIN: frozenset(_P),
}
