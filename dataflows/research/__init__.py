"""Research on recorded data: backtest reports, model training and optimisation of target weights."""
