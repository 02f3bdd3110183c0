"""The registered models: a folder each, named after the file's hash, and which of them serves.

    models/state.json                      {"active": sha256 or null, "retired": [sha256, ...]}
    models/<first 16 of the sha256>/       model.skops, card.json

A model's folder is never changed. The card says what the model is, from what it was made and how it did.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from configs.model_file import TrainedModel, load_model
from schemas.errors import BadInput

MODEL_FILE, CARD_FILE, STATE_FILE = "model.skops", "card.json", "state.json"
ACTIVE, RETIRED, REGISTERED = "active", "retired", "registered"


class ModelCard(BaseModel):
    """What is known of a model. Times in event time; `folds` and `metrics` as
    `dataflows/research/training.py` measures them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    name: str
    features: tuple[str, ...]  # specs of the indicators that it needs
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


class ModelRegistry:
    """The folder of models. Nothing is there before the first one is registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def register(self, model_bytes: bytes, card: Mapping[str, Any]) -> ModelCard:
        """Keep a frozen model with its card. The same model again changes nothing."""
        sha256 = hashlib.sha256(model_bytes).hexdigest()
        model_card = ModelCard.model_validate({**card, "sha256": sha256})
        model_folder = self.folder / sha256[:16]
        model_folder.mkdir(parents=True, exist_ok=True)
        # The card last: a folder with one is whole.
        _write_atomically(model_folder / MODEL_FILE, model_bytes)
        _write_atomically(model_folder / CARD_FILE, model_card.model_dump_json(indent=1).encode() + b"\n")
        return model_card

    def cards(self) -> list[ModelCard]:
        """All models, by the end of what they were trained on, newest last."""
        cards = [self._card(file) for file in sorted(self.folder.glob(f"*/{CARD_FILE}"))]
        return sorted(cards, key=lambda card: (card.trained_until_ns, card.sha256))

    def card(self, prefix: str) -> ModelCard:
        """The model whose sha256 begins with `wanted`. Raises BadInput where none or several do."""
        matches = [card for card in self.cards() if prefix and card.sha256.startswith(prefix)]
        if len(matches) != 1:
            known = ", ".join(card.sha256[:12] for card in self.cards()) or "none"
            raise BadInput(f"model {prefix!r} must name one of {known}, found {len(matches)}")
        return matches[0]

    def status(self, sha256: str) -> str:
        state = self._state()
        if state["active"] == sha256:
            return ACTIVE
        return RETIRED if sha256 in state["retired"] else REGISTERED

    def active(self) -> ModelCard | None:
        """The model that serves, None where none was activated."""
        sha256 = self._state()["active"]
        return None if sha256 is None else self.card(sha256)

    def activate(self, prefix: str) -> ModelCard:
        """Let this model serve from the next start of `predictions` on. Raises BadInput for a retired one."""
        card = self.card(prefix)
        if self.status(card.sha256) == RETIRED:
            raise BadInput(f"model {card.sha256[:12]} is retired and serves no more")
        load_model(self.folder / card.sha256[:16] / MODEL_FILE, card.sha256)
        self._write_state({**self._state(), "active": card.sha256})
        return card

    def retire(self, prefix: str) -> ModelCard:
        """Never serve this model again; where it is the active one, none serves."""
        card, state = self.card(prefix), self._state()
        retired = sorted({*state["retired"], card.sha256})
        self._write_state({"active": None if state["active"] == card.sha256 else state["active"], "retired": retired})
        return card

    def load(self, card: ModelCard) -> TrainedModel:
        """The model itself. Raises BadInput where the file is not the one that was registered."""
        model = load_model(self.folder / card.sha256[:16] / MODEL_FILE, card.sha256)
        on_card = (card.name, card.features, card.inputs, card.horizon_bars)
        in_file = (model.name, model.features, model.inputs, model.horizon_bars)
        if on_card != in_file:
            raise BadInput(
                f"model {card.sha256[:12]}: its card must say what is in the file, {in_file}, found {on_card}"
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
    """The model that serves by the settings `predictions.registry` and `predictions.model`, and where it is; None
    where none does. Raises BadInput for a model that is not there or is retired.
    """
    if folder is None or selected == "none":
        return None
    registry = ModelRegistry(folder)
    card = registry.active() if selected is None else registry.card(selected)
    if card is not None and registry.status(card.sha256) == RETIRED:
        raise BadInput(f"setting predictions.model: model {card.sha256[:12]} is retired and serves no more")
    return None if card is None else (registry, card)


def _write_atomically(file: Path, content: bytes) -> None:
    """Whole or not at all."""
    temporary = file.with_name(f".{file.name}.new")
    with temporary.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)
