"""Research on recorded data: reports of backtests, training of models, optimisation of target weights."""
