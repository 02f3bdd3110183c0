"""Run the enabled risk checks on an order. A check that raises neither stops risk nor lets an order pass."""

from __future__ import annotations

from operators.raised_error import describe_error, source_file
from operators.risk.checks import RiskCheck, enabled_checks, unlisted_checks
from operators.risk.order_context import OrderContext
from operators.risk.settings import RiskSettings
from operators.risk.verdict import Refusal, listed_result
from schemas.records import CheckResult, OrderTerms

NO_EXCEPTION = "no exception"
"""`limit` of a refusal whose check raised; `found` is the class name of the exception."""


class OrderChecks:
    """The checks that `settings` enable, in order.

    Without `lists_results`, orders do not list the results. Their texts take a third of the time of the checks.
    """

    def __init__(self, settings: RiskSettings, *, lists_results: bool = True) -> None:
        self._settings = settings
        checks = enabled_checks(settings)
        unlisted = unlisted_checks(settings) if lists_results else frozenset(checks)
        self._checks = [(check, check not in unlisted) for check in checks]

    def run(self, terms: OrderTerms, context: OrderContext) -> tuple[list[CheckResult], Refusal | None]:
        """Return the results that an order lists, and the first rejection. No check runs after a rejection.

        A check that raises refuses the order, and the message names the file and the line.
        """
        results: list[CheckResult] = []
        settings = self._settings
        for check, is_listed in self._checks:
            try:
                verdict = check(terms, context, settings)
            except Exception as error:  # noqa: BLE001  (a check may be the user's code)
                verdict = _refuse_failed(check, terms, error)
            if isinstance(verdict, Refusal):
                return results, verdict
            if is_listed:
                results.append(listed_result(verdict))
        return results, None


def _refuse_failed(check: RiskCheck, terms: OrderTerms, error: Exception) -> Refusal:
    name = check.__module__.rpartition(".")[2]
    raised = describe_error(error, source_file(check))
    message = (
        f"{name}: {terms.symbol} order is rejected because the check raised {raised.error_type}: {raised.message} "
        f"at {raised.file}:{raised.line}"
    )
    return Refusal(name, raised.error_type, NO_EXCEPTION, message)
