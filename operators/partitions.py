"""Map a symbol to its Kafka partition, by Kafka's default rule, so that external producers use the same partition."""

from __future__ import annotations

from functools import cache

_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 as in Kafka's Java client (seed 0x9747b28c).

    Source: A. Appleby, MurmurHash2; the test vectors are those of Kafka's UtilsTest.

    >>> murmur2(b"foobar") - 2**32
    -790332482
    """
    m, length = 0x5BD1E995, len(data)
    h = (0x9747B28C ^ length) & _MASK
    whole = length - length % 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & _MASK
        k = (k ^ (k >> 24)) * m & _MASK
        h = (h * m & _MASK) ^ k
    if whole < length:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & _MASK
    h = (h ^ (h >> 13)) * m & _MASK
    return h ^ (h >> 15)


@cache
def partition_of(symbol: str, partitions: int) -> int:
    """Return the partition of a symbol out of `partitions`, like `murmur2_random` in librdkafka and the Java default.

    >>> partition_of("AAPL", 1)
    0
    """
    return (murmur2(symbol.encode()) & 0x7FFFFFFF) % partitions
