"""Write a week of invented minute bars for two symbols into the folder bars/. Used by the tutorials and the README."""

import random
from datetime import datetime, timedelta
from pathlib import Path

random.seed(7)
Path("bars").mkdir(exist_ok=True)
for symbol, price in (("AAPL", 190.0), ("MSFT", 410.0)):
    rows = ["timestamp,open,high,low,close,volume"]
    for day in range(4, 9):  # Monday to Friday, 09:30 to 16:00 in New York, as UTC
        session_open = datetime(2024, 3, day, 14, 30)  # noqa: DTZ001 - the file has UTC without a zone
        for minute in range(390):
            open_price = price
            price *= 1 + random.gauss(0, 0.001)
            high, low = max(open_price, price), min(open_price, price)
            time = (session_open + timedelta(minutes=minute)).isoformat()
            volume = random.randint(1, 50) * 100  # noqa: S311 - invented data, not a secret
            rows.append(f"{time},{open_price:.2f},{high:.2f},{low:.2f},{price:.2f},{volume}")
    Path(f"bars/{symbol}.csv").write_text("\n".join(rows) + "\n")
    print(f"bars/{symbol}.csv: {len(rows) - 1:,} bars")
