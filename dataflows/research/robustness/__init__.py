"""How far a result depends on costs, delays, the traded capital and single prices: backtests with one thing changed."""
