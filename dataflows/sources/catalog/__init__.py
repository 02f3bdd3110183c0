"""The catalogue of bars: Parquet files by interval, symbol and month in the state folder.

`bar_catalog` stores them, `catalog_paths` resolves `catalog:SPY,AAPL`, and `catalog_table` is the feed's view of them.
"""
