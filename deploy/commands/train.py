"""`train` and `models`: train models on recorded features, and manage the registered models."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deploy.home import home_from_environment
from deploy.name_arguments import require_choice
from schemas.errors import BadInput

if TYPE_CHECKING:
    from configs.model_registry import ModelCard, ModelRegistry
    from configs.settings import Settings
    from schemas.records import FeatureRow

models = typer.Typer(help="List, show, activate and retire the registered models.", no_args_is_help=True)
Bars = Annotated[list[Path] | None, typer.Option(help="CSV or Parquet bar files, or folders of them; accepts several.")]
MoreBars = Annotated[list[Path] | None, typer.Argument(hidden=True)]
FromTopics = Annotated[bool, typer.Option("--from-topics", help="Train on the features that the platform recorded.")]
ModelName = Annotated[str, typer.Option("--model", help="Kind of model: gradient_boosting.")]
Horizon = Annotated[int, typer.Option(min=1, help="Forecast horizon in bars.")]
Features = Annotated[
    str | None, typer.Option(help="Comma-separated indicators to train on (default: all computed ones except volume).")
]
Folds = Annotated[int, typer.Option(min=1, help="Number of walk-forward tests on data after the training window.")]
Embargo = Annotated[int | None, typer.Option(min=0, help="Bars to skip before each test (default: the horizon).")]
Trees = Annotated[int, typer.Option(min=1, help="Number of trees in each of the model's two ensembles.")]
Activate = Annotated[
    bool, typer.Option("--activate", help="Activate the model from the next start of `predictions` on.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Activate the model even if it forecasts worse than the naive forecast.")
]
SettingsFile = Annotated[
    Path | None, typer.Option("--settings", help="Settings file. Its values override the default settings.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ModelHash = Annotated[str, typer.Argument(help="SHA-256 of the model, or its first digits.")]


def register(app: typer.Typer) -> None:
    app.command("train", help="Train a model on recorded features, test it walk-forward and register it.")(train)
    app.add_typer(models, name="models")


def train(
    bars: Bars = None,
    more_bars: MoreBars = None,
    from_topics: FromTopics = False,
    model: ModelName = "gradient_boosting",
    horizon: Horizon = 30,
    features: Features = None,
    folds: Folds = 5,
    embargo: Embargo = None,
    trees: Trees = 100,
    activate: Activate = False,
    force: Force = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    from dataflows.research import training

    paths = [*(bars or []), *(more_bars or [])]
    if bool(paths) == from_topics:
        raise BadInput("train needs either --bars FILES or --from-topics")
    require_choice("--model", model, training.MODELS)
    loaded_settings = _settings(settings)
    specs = _specs(loaded_settings, features)
    result = training.train(
        _rows(loaded_settings, paths, specs),
        specs,
        horizon_bars=horizon,
        folds=folds,
        embargo_bars=embargo,
        trees=trees,
    )
    registry = _registry(loaded_settings)
    card = registry.register(result.model_bytes, result.card)
    if activate:
        registry.activate(card.sha256, force=force)
    _show(registry, card, as_json=as_json)


@models.command("list", help="List all models, ordered by the end of their training data.")
def list_models(as_json: AsJson = False) -> None:
    registry = _registry(_settings(None))
    cards = registry.cards()
    if as_json:
        print(json.dumps([_card_fields(registry, card) for card in cards], indent=1))
        return
    table = Table(box=None)
    for title in (
        "model",
        "kind",
        "horizon",
        "rows",
        "hit rate",
        "naive hit rate",
        "IC",
        "Brier",
        "naive Brier",
        "status",
    ):
        table.add_column(title)
    for card in cards:
        metrics = [f"{card.metrics[name]:.4f}" for name in ("hit_rate", "hit_rate_naive", "ic", "brier", "brier_naive")]
        status = registry.status(card.sha256)
        table.add_row(card.sha256[:12], card.name, str(card.horizon_bars), f"{card.rows:,}", *metrics, status)
    Console(width=130).print(table)


@models.command("show", help="Print the model card of one model.")
def show(model: ModelHash, as_json: AsJson = False) -> None:
    registry = _registry(_settings(None))
    _show(registry, registry.card(model), as_json=as_json)


@models.command("activate", help="Activate this model from the next start of `predictions` on.")
def activate(model: ModelHash, force: Force = False) -> None:
    card = _registry(_settings(None)).activate(model, force=force)
    print(f"{card.sha256[:12]} is active from the next start on; run `python cli.py restart`")


@models.command("retire", help="Retire this model. It cannot be activated again.")
def retire(model: ModelHash) -> None:
    print(f"{_registry(_settings(None)).retire(model).sha256[:12]} is retired")


def _settings(file: Path | None) -> "Settings":
    from configs.settings import load_settings
    from deploy.recovery.recorded_topics import platform_settings

    return load_settings(file) if file is not None else platform_settings(home_from_environment(), {})


def _registry(settings: "Settings") -> "ModelRegistry":
    from configs.model_registry import ModelRegistry

    folder = settings.predictions.registry
    return ModelRegistry(folder if folder is not None else home_from_environment().root / "models")


def _specs(settings: "Settings", features: str | None) -> tuple[str, ...]:
    from configs.strategies import configured_features
    from operators.predictions.inputs import is_model_input

    specs = configured_features(settings)
    if features is not None:
        return tuple(spec.strip() for spec in features.split(",") if spec.strip())
    return tuple(spec for spec in specs if is_model_input(spec))


def _rows(settings: "Settings", paths: list[Path], specs: tuple[str, ...]) -> "Iterable[FeatureRow]":
    from dataflows.research import recorded_features
    from sinks.database import open_engine

    if paths:
        return recorded_features.features_from_files(settings, paths, specs)
    return recorded_features.features_from_table(open_engine(settings.database.postgres.url, pool_size=1))


def _card_fields(registry: "ModelRegistry", card: "ModelCard") -> dict[str, Any]:
    return {**card.model_dump(mode="json"), "status": registry.status(card.sha256)}


def _show(registry: "ModelRegistry", card: "ModelCard", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_card_fields(registry, card), indent=1))
        return
    table = Table(show_header=False, box=None)
    for name, value in _card_fields(registry, card).items():
        if name != "folds":
            table.add_row(name.replace("_", " "), json.dumps(value) if isinstance(value, dict) else str(value))
    for number, fold in enumerate(card.folds, 1):
        table.add_row(f"fold {number}", ", ".join(f"{name} {value:.4g}" for name, value in fold.items()))
    Console(width=150).print(table)
