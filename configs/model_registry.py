"""Registry of trained models: one folder per model, named after the hash of its file, and which model is active.

    models/state.json                      {"active": sha256 or null, "retired": [sha256, ...]}
    models/<first 16 of the sha256>/       model.skops, card.json

A model's folder never changes. The card describes the model, its training data and its scores.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from configs.model_file import LoadedModel, load_model
from schemas.errors import BadInput
from schemas.suggestions import did_you_mean

MODEL_FILE, CARD_FILE, STATE_FILE = "model.skops", "card.json", "state.json"
ACTIVE, RETIRED, REGISTERED = "active", "retired", "registered"


class ModelCard(BaseModel):
    """Describes a model. Times are event time in ns; `dataflows/research/training.py` defines `folds` and `metrics`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    name: str
    features: tuple[str, ...]  # specs of the indicators that the model needs
    inputs: tuple[str, ...]
    horizon_bars: int
    symbols: tuple[str, ...]
    rows: int
    trained_from_ns: int
    trained_until_ns: int
    data_sha256: str
    parameters: dict[str, float]
    folds: tuple[dict[str, float], ...]
    metrics: dict[str, float]
    libraries: dict[str, str]

    def is_worse_than_naive(self) -> bool:
        """Whether the probabilities were worse out of sample than the base rate, by the Brier score (less is better).

        Source: G. W. Brier (1950), Monthly Weather Review 78(1).
        """
        return self.metrics.get("brier", 0.0) > self.metrics.get("brier_naive", math.inf)


class ModelRegistry:
    """The folder of models. It does not exist before the first model is registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def register(self, model_bytes: bytes, card: Mapping[str, Any]) -> ModelCard:
        """Store a serialized model with its card. Registering the same model again changes nothing."""
        sha256 = hashlib.sha256(model_bytes).hexdigest()
        model_card = ModelCard.model_validate({**card, "sha256": sha256})
        model_folder = self.folder / sha256[:16]
        model_folder.mkdir(parents=True, exist_ok=True)
        # The card last: a folder with a card is complete.
        _write_atomically(model_folder / MODEL_FILE, model_bytes)
        _write_atomically(model_folder / CARD_FILE, model_card.model_dump_json(indent=1).encode() + b"\n")
        return model_card

    def cards(self) -> list[ModelCard]:
        """Return all models, ordered by the end of their training data, newest last."""
        cards = [self._card(file) for file in sorted(self.folder.glob(f"*/{CARD_FILE}"))]
        return sorted(cards, key=lambda card: (card.trained_until_ns, card.sha256))

    def card(self, prefix: str) -> ModelCard:
        """Return the model whose sha256 begins with `prefix`. Raises BadInput unless exactly one model matches."""
        cards = self.cards()
        matches = [card for card in cards if prefix and card.sha256.startswith(prefix)]
        if len(matches) == 1:
            return matches[0]
        known = [card.sha256[:12] for card in cards]
        if matches:
            raise BadInput(f"model {prefix!r} is ambiguous: {len(matches)} registered models begin with it; add digits")
        suggestion = did_you_mean(prefix[:12], known) or "."
        raise BadInput(f"unknown model {prefix!r}{suggestion} Registered models: {', '.join(known) or 'none'}")

    def status(self, sha256: str) -> str:
        state = self._state()
        if state["active"] == sha256:
            return ACTIVE
        return RETIRED if sha256 in state["retired"] else REGISTERED

    def active(self) -> ModelCard | None:
        """Return the active model, or None if no model is active."""
        sha256 = self._state()["active"]
        return None if sha256 is None else self.card(sha256)

    def activate(self, prefix: str, *, force: bool = False) -> ModelCard:
        """Make this model the active one from the next start of `predictions`.

        Raises BadInput if it is retired, or if it forecast worse out of sample than the naive forecast and `force` is
        false.
        """
        card = self.card(prefix)
        if self.status(card.sha256) == RETIRED:
            raise BadInput(f"model {card.sha256[:12]} is retired and cannot be activated")
        if not force and card.is_worse_than_naive():
            raise BadInput(
                f"model {card.sha256[:12]} is worse than the naive forecast: its Brier score out of sample is "
                f"{card.metrics['brier']:.6f}, that of the naive forecast {card.metrics['brier_naive']:.6f}; "
                "pass --force to activate it anyway"
            )
        load_model(self.folder / card.sha256[:16] / MODEL_FILE, card.sha256)
        self._write_state({**self._state(), "active": card.sha256})
        return card

    def retire(self, prefix: str) -> ModelCard:
        """Retire this model permanently. If it was the active model, no model is active."""
        card, state = self.card(prefix), self._state()
        retired = sorted({*state["retired"], card.sha256})
        self._write_state({"active": None if state["active"] == card.sha256 else state["active"], "retired": retired})
        return card

    def load(self, card: ModelCard) -> LoadedModel:
        """Load the model's file. Raises BadInput if the file does not match the card."""
        model = load_model(self.folder / card.sha256[:16] / MODEL_FILE, card.sha256)
        on_card = (card.name, card.features, card.inputs, card.horizon_bars)
        in_file = (model.name, model.features, model.inputs, model.horizon_bars)
        if on_card != in_file:
            raise BadInput(
                f"model {card.sha256[:12]}: the card must match the file, expected {in_file}, found {on_card}"
            )
        return model

    def _card(self, file: Path) -> ModelCard:
        try:
            return ModelCard.model_validate_json(file.read_text())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadInput(f"model card {file}: {where}: {first['msg']}") from error

    def _state(self) -> dict[str, Any]:
        try:
            state = json.loads((self.folder / STATE_FILE).read_text())
        except FileNotFoundError:
            return {"active": None, "retired": []}
        except ValueError as error:
            raise BadInput(f"{self.folder / STATE_FILE}: expected JSON, {error}") from error
        if not isinstance(state, dict) or set(state) != {"active", "retired"}:
            raise BadInput(f"{self.folder / STATE_FILE}: expected active and retired, found {state}")
        return state

    def _write_state(self, state: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        _write_atomically(self.folder / STATE_FILE, json.dumps(state, indent=1).encode() + b"\n")


def serving_model(folder: Path | None, selected: str | None) -> tuple[ModelRegistry, ModelCard] | None:
    """Return the registry and the model that the settings `predictions.registry` and `predictions.model` select, or
    None if they select no model. Raises BadInput if the model is unknown or retired.
    """
    if folder is None or selected == "none":
        return None
    registry = ModelRegistry(folder)
    card = registry.active() if selected is None else registry.card(selected)
    if card is not None and registry.status(card.sha256) == RETIRED:
        raise BadInput(f"setting predictions.model: model {card.sha256[:12]} is retired; select another model")
    return None if card is None else (registry, card)


def _write_atomically(file: Path, content: bytes) -> None:
    """Write the whole file or nothing."""
    temporary = file.with_name(f".{file.name}.new")
    with temporary.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
