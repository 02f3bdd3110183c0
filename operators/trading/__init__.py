"""Trading strategies: one stage runs them over the whole universe, and publishes their orders and targets.

The stage is `operators.trading.stage.TradingStrategyStage`, the interface for users `operators.strategies`.
"""
