"""Bar files as vendors write them."""

from __future__ import annotations

from typing import Any, NamedTuple


class VendorFile(NamedTuple):
    """A file as a vendor writes it; its two bars are those of AAPL, or `symbol`, at 09:30 and 09:31 in New York."""

    vendor: str
    name: str
    text: str
    options: dict[str, Any] = {}  # noqa: RUF012
    symbol: str = "AAPL"


PRICES = "100,101,99,100.5"
NEW_YORK: dict[str, Any] = {"timezone": "America/New_York"}
VENDOR_FILES = [
    VendorFile(
        "Yahoo 1m",
        "AAPL.csv",
        "Datetime,Open,High,Low,Close,Adj Close,Volume\n"
        f"2024-01-02 09:30:00-05:00,{PRICES},50,10\n2024-01-02 09:31:00-05:00,{PRICES},50,10\n",
    ),
    VendorFile(
        "Yahoo, yfinance",
        "download.csv",
        "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\nDatetime,,,,,\n"
        "2024-01-02 14:30:00+00:00,100.5,101,99,100,10\n2024-01-02 14:31:00+00:00,100.5,101,99,100,10\n",
    ),
    VendorFile(
        "Stooq text",
        "aapl.us.txt",
        "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>\n"
        f"AAPL.US,1,20240102,153000,{PRICES},10,0\nAAPL.US,1,20240102,153100,{PRICES},10,0\n",
        {"timezone": "Europe/Warsaw"},
        "AAPL.US",
    ),
    VendorFile(
        "Stooq CSV",
        "aapl_us_d.csv",
        f"Date,Time,Open,High,Low,Close,Volume\n2024-01-02,15:30:00,{PRICES},10\n2024-01-02,15:31:00,{PRICES},10\n",
        {"timezone": "Europe/Warsaw"},
    ),
    VendorFile(
        "Alpha Vantage",
        "intraday_1min_AAPL.csv",
        f"timestamp,open,high,low,close,volume\n2024-01-02 09:31:00,{PRICES},10\n2024-01-02 09:30:00,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile(
        "Polygon flat file",
        "2024-01-02.csv.gz",
        "ticker,volume,open,close,high,low,window_start,transactions\n"
        "AAPL,10,100,100.5,101,99,1704205800000000000,5\nAAPL,10,100,100.5,101,99,1704205860000000000,5\n",
    ),
    VendorFile(
        "Binance klines, ms",
        "BTCUSDT-1m-2024-01.csv",
        f"1704205800000,{PRICES},10,1704205859999,1000,5,4,400,0\n1704205860000,{PRICES},10,1704205919999,1000,5,4,400,0\n",
        {"calendar": "24/7"},
        "BTCUSDT",
    ),
    VendorFile(
        "Binance klines, us and header",
        "BTCUSDT-1m-2025-01-01.csv",
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore\n"
        f"1704205800000000,{PRICES},10,1704205859999999,1000,5,4,400,0\n"
        f"1704205860000000,{PRICES},10,1704205919999999,1000,5,4,400,0\n",
        {},
        "BTCUSDT",
    ),
    VendorFile(
        "TradingView",
        "BATS_AAPL, 1.csv",
        f"time,open,high,low,close,MA,Volume\n1704205800,{PRICES},99.9,10\n1704205860,{PRICES},99.9,10\n",
    ),
    VendorFile(
        "TradingView, ISO",
        "NASDAQ_AAPL, 1 (2).csv",
        f"time,open,high,low,close,Volume\n2024-01-02T09:30:00-05:00,{PRICES},10\n2024-01-02T09:31:00-05:00,{PRICES},10\n",
    ),
    VendorFile(
        "Interactive Brokers",
        "AAPL.csv",
        ",date,open,high,low,close,volume,average,barCount\n"
        f"0,20240102 09:30:00 US/Eastern,{PRICES},10,100,3\n1,20240102  09:31:00 US/Eastern,{PRICES},10,100,3\n",
    ),
    VendorFile(
        "Interactive Brokers, ib_async",
        "AAPL.csv",
        "date,open,high,low,close,volume\n"
        f"2024-01-02 09:30:00-05:00,{PRICES},10\n2024-01-02 09:31:00-05:00,{PRICES},10\n",
    ),
    VendorFile(
        "Kibot",
        "AAPL.txt",
        f"01/02/2024,09:30,{PRICES},10\n01/02/2024,09:31,{PRICES},10\n",
        {**NEW_YORK, "date_order": "mdy"},
    ),
    VendorFile(
        "FirstRate Data",
        "AAPL_full_1min_adjsplit.txt",
        f"2024-01-02 09:30:00,{PRICES},10\n2024-01-02 09:31:00,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile("MetaTrader 4", "AAPL.csv", f"2024.01.02,09:30,{PRICES},10\n2024.01.02,09:31,{PRICES},10\n", NEW_YORK),
    VendorFile(
        "MetaTrader 5",
        "AAPL_M1_202401020930_202401020931.csv",
        "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<SPREAD>\n"
        "2024.01.02\t09:30:00\t100\t101\t99\t100.5\t10\t1\n2024.01.02\t09:31:00\t100\t101\t99\t100.5\t10\t1\n",
        NEW_YORK,
    ),
    VendorFile(
        "HistData",
        "DAT_ASCII_EURUSD_M1_2024.csv",
        "20240102 093000;100;101;99;100.5;0\n20240102 093100;100;101;99;100.5;0\n",
        {"timezone": "Etc/GMT+5", "volume": "none"},
        "EURUSD",
    ),
    VendorFile(
        "Dukascopy",
        "AAPL_Candlestick_1_M_BID_02.01.2024-02.01.2024.csv",
        "Gmt time,Open,High,Low,Close,Volume\n"
        f"02.01.2024 14:30:00.000,{PRICES},10\n02.01.2024 14:31:00.000,{PRICES},10\n",
    ),
    VendorFile(
        "IQFeed",
        "AAPL.csv",
        f"DateTime,Open,High,Low,Close,Volume\n20240102 093000,{PRICES},10\n20240102 093100,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile(
        "integers",
        "AAPL.csv",
        f"date,time,open,high,low,close,volume\n20240102,93000,{PRICES},10\n20240102,93100,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile(
        "hours and minutes",
        "AAPL.csv",
        f"date,time,open,high,low,close,volume\n20240102,930,{PRICES},10\n20240102,931,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile(
        "12 digits",
        "AAPL.csv",
        f"time,open,high,low,close,volume\n202401020930,{PRICES},10\n202401020931,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile(
        "14 digits",
        "AAPL.csv",
        f"time,open,high,low,close,volume\n20240102093000,{PRICES},10\n20240102093100,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile(
        "Yahoo, yfinance by ticker",
        "download.csv",
        "Ticker,AAPL,AAPL,AAPL,AAPL,AAPL\nPrice,Open,High,Low,Close,Volume\nDatetime,,,,,\n"
        f"2024-01-02 14:30:00+00:00,{PRICES},10\n2024-01-02 14:31:00+00:00,{PRICES},10\n",
    ),
    VendorFile(
        "Yahoo, yfinance without names of the lines",
        "download.csv",
        ",Adj Close,Close,High,Low,Open,Volume\n,AAPL,AAPL,AAPL,AAPL,AAPL,AAPL\nDatetime,,,,,,\n"
        "2024-01-02 14:30:00+00:00,50,100.5,101,99,100,10\n2024-01-02 14:31:00+00:00,50,100.5,101,99,100,10\n",
    ),
    VendorFile(
        "Alpha Vantage, numbered with adjusted close",
        "AAPL.csv",
        "date,1. open,2. high,3. low,4. close,5. adjusted close,6. volume,7. dividend amount,8. split coefficient\n"
        f"2024-01-02 09:30:00,{PRICES},50,10,0,1\n2024-01-02 09:31:00,{PRICES},50,10,0,1\n",
        NEW_YORK,
    ),
    VendorFile(
        "Binance klines, names with spaces",
        "BTCUSDT-1m-2024-01.csv",
        "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades,"
        "Taker buy base asset volume,Taker buy quote asset volume,Ignore\n"
        f"1704205800000,{PRICES},10,1704205859999,1000,5,4,400,0\n1704205860000,{PRICES},10,1704205919999,1000,5,4,400,0\n",
        {"calendar": "24/7"},
        "BTCUSDT",
    ),
    VendorFile(
        "TradingView, futures",
        "CME_MINI_ES1!, 1_d8ffc.csv",
        f"time,open,high,low,close,Volume,Volume MA\n1704205800,{PRICES},10,\n1704205860,{PRICES},10,12\n",
        {},
        "ES1!",
    ),
    VendorFile(
        "Interactive Brokers, no volume",
        "AAPL.csv",
        "date,open,high,low,close,volume,average,barCount\n"
        f"2024-01-02 09:30:00-05:00,{PRICES},-1.0,-1.0,-1\n2024-01-02 09:31:00-05:00,{PRICES},-1.0,-1.0,-1\n",
        {"volume": "none"},
    ),
    VendorFile(
        "FirstRate Data, index",
        "SPX_full_1min.txt",
        f"2024-01-02 09:30:00,{PRICES}\n2024-01-02 09:31:00,{PRICES}\n",
        {**NEW_YORK, "volume": "none"},
        "SPX",
    ),
    VendorFile(
        "Nasdaq",
        "AAPL.csv",
        "Date,Close/Last,Volume,Open,High,Low\n"
        "01/02/2024 09:31,$100.50,10,$100.00,$101.00,$99.00\n01/02/2024 09:30,$100.50,10,$100.00,$101.00,$99.00\n",
        {**NEW_YORK, "date_order": "mdy"},
    ),
    VendorFile(
        "pandas", "AAPL.csv", f",open,high,low,close,volume\n1704205800.0,{PRICES},10\n1704205860.0,{PRICES},10\n"
    ),
    VendorFile(
        "a spreadsheet's epochs",
        "AAPL.csv",
        f"time,open,high,low,close,volume\n1.7042058E9,{PRICES},10\n1.70420586E9,{PRICES},10\n",
    ),
    VendorFile(
        "month names and AM",
        "AAPL.csv",
        f"Date,Time,Open,High,Low,Close,Volume\n02-Jan-2024,9:30 AM,{PRICES},10\n02-Jan-2024,9:31 AM,{PRICES},10\n",
        NEW_YORK,
    ),
    VendorFile(
        "decimal comma",
        "AAPL.csv",
        "Datum;date;time;open;high;low;close;volume\n"
        "x;02.01.2024;15:30;100,0;101,0;99,0;100,5;10\nx;02.01.2024;15:31;100,0;101,0;99,0;100,5;10\n",
        {"timezone": "Europe/Berlin", "decimal": ","},
    ),
    VendorFile(
        "a file without a name of its own",
        "export.csv",
        f"time,open,high,low,close,volume\n1704205800,{PRICES},10\n1704205860,{PRICES},10\n",
        {"symbol": "AAPL"},
    ),
]
