"""The examples of IRS Publication 550, "Wash Sales", in short and worked by hand, through `cli.py lots`."""

from __future__ import annotations

from pathlib import Path

from tests.builders.lots_command import HEADER, lots_csv, lots_json


def open_lots(folder: Path, fills: str) -> list[tuple[str, str, str, str]]:
    report = lots_json(folder, fills, "--wash-sales")
    return [(lot["time"], lot["quantity"], lot["basis"], lot["holding_from"]) for lot in report["open_lots"]]


def losses(folder: Path, fills: str) -> list[tuple[str, str, str]]:
    """Quantity, disallowed loss and gain of each match."""
    report = lots_json(folder, fills, "--wash-sales")
    return [(match["quantity"], match["disallowed_loss"], match["gain"]) for match in report["matches"]]


def test_shares_bought_after_the_sale(tmp_path: Path) -> None:
    """You buy 100 shares of X stock for $1,000. You sell these shares for $750 and within 30 days from the sale you
    buy 100 shares of the same stock for $800. The loss of 250 is disallowed; the new basis is 800 + 250 = 1050.
    """
    fills = f"{HEADER}\n2024-01-02,X,BUY,100,10,0\n2024-03-01,X,SELL,100,7.5,0\n2024-03-15,X,BUY,100,8,0\n"
    assert losses(tmp_path, fills) == [("100", "250", "0")]
    # The old shares were held for 59 days (2 January to 1 March 2024): 15 March less 59 days is 16 January.
    assert open_lots(tmp_path, fills) == [("2024-03-15", "100", "1050", "2024-01-16")]


MORE_SOLD = f"""{HEADER}
2023-09-24,M,BUY,100,50,0
2023-12-21,M,BUY,50,55,0
2023-12-28,M,BUY,25,45,0
2024-01-04,M,SELL,100,40,0
"""


def test_more_shares_sold_than_bought(tmp_path: Path) -> None:
    """You bought 100 shares of M stock on September 24 for $5,000. On December 21, you bought 50 shares for $2,750.
    On December 28, you bought 25 shares for $1,125. On January 4, you sold for $4,000 the 100 shares.

    Loss 1000, for 75 of the 100 shares disallowed: 750. Basis of the 50 shares: 2750 + 50/75 x 750 = 3250; of the 25
    shares: 1125 + 250 = 1375. The old shares were held for 102 days: 21 December less 102 days is 10 September.
    """
    assert losses(tmp_path, MORE_SOLD) == [("100", "750", "-250")]
    assert open_lots(tmp_path, MORE_SOLD) == [
        ("2023-12-21", "50", "3250", "2023-09-10"),
        ("2023-12-28", "25", "1375", "2023-09-17"),
    ]


def test_more_shares_bought_than_sold(tmp_path: Path) -> None:
    """You bought 100 shares of M stock on September 24. On February 1, you sold those shares at a $1,000 loss. On
    each of the 4 days from February 12 to February 15, you bought 50 shares.

    Add 500 to the basis of the shares of 12 February, and 500 to that of 13 February. At 45 a share, 2250 becomes 2750.
    """
    days = "".join(f"2024-02-{day},M,BUY,50,45,0\n" for day in range(12, 16))
    fills = f"{HEADER}\n2023-09-24,M,BUY,100,50,0\n2024-02-01,M,SELL,100,40,0\n{days}"
    assert losses(tmp_path, fills) == [("100", "1000", "0")]
    assert [lot[2] for lot in open_lots(tmp_path, fills)] == ["2750", "2750", "2250", "2250"]


def test_a_gain_of_the_same_day_is_not_reduced(tmp_path: Path) -> None:
    """You bought 100 shares of X stock on each of three occasions. You paid $158 a share for the first block, $100
    for the second, and $95 for the third. On December 23, you sold 300 shares for $125 a share. On January 6, you
    bought 250 shares of identical X stock.

    The loss of 33 a share on the first block, 3300, is disallowed; the gains are 100 x 25 + 100 x 30 = 5500.
    """
    fills = f"""{HEADER}
2023-03-01,X,BUY,100,158,0
2023-04-03,X,BUY,100,100,0
2023-05-01,X,BUY,100,95,0
2023-12-23,X,SELL,300,125,0
2024-01-06,X,BUY,250,120,0
"""
    assert losses(tmp_path, fills) == [("100", "3300", "0"), ("100", "0", "2500"), ("100", "0", "3000")]
    # 100 of the new shares carry the loss: 12000 + 3300. 150 do not: 18000.
    assert [lot[1:3] for lot in open_lots(tmp_path, fills)] == [("100", "15300"), ("150", "18000")]


def test_the_holding_period_of_the_old_shares_makes_a_sale_long_term(tmp_path: Path) -> None:
    """Held for 300 days, replaced, and held for 66 more: 366 days are more than one year in a year of 365 days."""
    fills = f"""{HEADER}
2022-03-01,X,BUY,10,100,0
2022-12-26,X,SELL,10,90,0
2023-01-05,X,BUY,10,91,0
2023-03-11,X,SELL,5,95,0
2023-03-12,X,SELL,5,95,0
"""
    rows = lots_csv(tmp_path, fills, "--wash-sales", "--format", "8949")
    # The holding period of the new shares counts from 11 March 2022: 11 March 2023 is one year, the next day is more.
    assert [(row["part"], row["acquired"], row["sold"], row["code"], row["gain"]) for row in rows] == [
        ("I", "03/01/2022", "12/26/2022", "W", "0.00"),
        ("I", "01/05/2023", "03/11/2023", "", "-30.00"),
        ("II", "01/05/2023", "03/12/2023", "", "-30.00"),
    ]


def test_a_partial_sale_of_one_purchase_is_no_wash_sale(tmp_path: Path) -> None:
    """Rev. Rul. 56-602: the rest of the purchase was not bought in addition to what was sold."""
    fills = f"{HEADER}\n2024-03-01,X,BUY,100,10,0\n2024-03-08,X,SELL,40,9,0\n"
    assert losses(tmp_path, fills) == [("40", "0", "-40")]
