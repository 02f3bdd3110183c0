"""Formulas over named numbers, such as the constraint `fast < slow` or the objective `sharpe - 2 * max_drawdown`."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {"abs": abs, "min": min, "max": max, "sqrt": math.sqrt, "log": math.log}
_LENGTH_MAX = 500


class Formula:
    """One formula: numbers, names, `+ - * / // %`, comparisons, `and or not` and the functions abs min max sqrt log.

    `kind` names the formula in errors. Raises BadInput for a text that is no such formula, and for a name that is not
    among the `known` ones.

    >>> Formula("constraint", "fast * 2 < slow", ("fast", "slow")).value({"fast": 5, "slow": 20})
    True
    """

    def __init__(self, kind: str, text: str, known: Collection[str]) -> None:
        self.text, self._kind = text, kind
        if len(text) > _LENGTH_MAX:
            raise BadInput(f"{kind} must have at most {_LENGTH_MAX} characters, found {len(text)}")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError) as error:
            raise BadInput(f"{kind} {text!r} is not a formula such as 'fast < slow'") from error
        self._check(self._tree, known)

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return the value; None if a name has no value, or if a number is not defined, such as a division by zero."""
        try:
            result = self._evaluate(self._tree, values)
        except (ArithmeticError, ValueError):
            return None
        except TypeError as error:
            raise BadInput(f"{self._kind} {self.text!r} compares values of different types: {error}") from error
        return None if isinstance(result, float) and not math.isfinite(result) else result

    def _check(self, node: ast.expr, known: Collection[str]) -> None:
        """Raise BadInput if a part of the formula is not allowed."""
        match node:
            case ast.Constant(value=int() | float() | str()):
                return
            case ast.Name(id=name):
                if name not in known:
                    raise BadInput(
                        f"{self._kind} {self.text!r} has the unknown name {name!r}{did_you_mean(name, known) or ';'}"
                        f" known names: {', '.join(known)}"
                    )
                return
            case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
                parts = node.args
            case ast.BinOp(op=op) | ast.UnaryOp(op=op) if type(op) in _OPERATORS:
                parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
            case ast.Compare(ops=ops) if all(type(op) in _OPERATORS for op in ops):
                parts = [node.left, *node.comparators]
            case ast.BoolOp():
                parts = node.values
            case _:
                raise BadInput(
                    f"{self._kind} {self.text!r} contains {ast.unparse(node)!r}; use numbers, names, + - * / // %, "
                    f"comparisons, and, or, not, and {', '.join(_FUNCTIONS)}"
                )
        for part in parts:
            self._check(part, known)

    def _evaluate(self, node: ast.expr, values: Mapping[str, Any]) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                value = values.get(node.id)
                if value is None:
                    raise ValueError(f"{node.id} has no value")
                return value
            case ast.Call(func=ast.Name(id=name)):
                return _FUNCTIONS[name](*(self._evaluate(part, values) for part in node.args))
            case ast.BinOp():
                left, right = self._evaluate(node.left, values), self._evaluate(node.right, values)
                return _OPERATORS[type(node.op)](left, right)
            case ast.UnaryOp():
                return _OPERATORS[type(node.op)](self._evaluate(node.operand, values))
            case ast.BoolOp():
                parts = (self._evaluate(part, values) for part in node.values)
                return all(parts) if isinstance(node.op, ast.And) else any(parts)
        assert isinstance(node, ast.Compare), "`_check` allows nothing else"
        sides = [self._evaluate(part, values) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides, sides[1:], strict=False)
        return all(_OPERATORS[type(op)](left, right) for op, left, right in pairs)
