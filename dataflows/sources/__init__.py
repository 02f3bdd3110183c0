"""Sources of records, as time slices for the dataflows.

- `kafka`: the source of every staged service. `topic_tail` reads the last records of a topic.
- `feed_source`: the Bytewax source of a market feed, chosen by `feed_selection`: bar files (`file_feed` with
  `bar_files`, `csv_table`, `parquet_table`, `blocks`, `rows`, `merge`), `simulator` or live providers (`market/`).
  `heartbeat` adds wall-clock commands, `trading_calendar` the sessions.
- `polled_source`: the Bytewax source of `news/` and `fundamentals/`. `background_poller` polls them in a thread;
  `conditional_get` and `watched_files` fetch from HTTP and from files.
- `tape/`: quotes, reference data, news and fundamentals in files beside the bars.
"""
