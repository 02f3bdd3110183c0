"""Which partition a symbol is in: Kafka's own rule, so that outside producers agree with ours."""

from __future__ import annotations

from functools import cache

_MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """32-bit MurmurHash2 as Kafka's Java client computes it (seed 0x9747b28c).

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
    """The partition of a symbol among `partitions`, as `murmur2_random` in librdkafka and the Java default do.

    >>> partition_of("AAPL", 1)
    0
    """
    return (murmur2(symbol.encode()) & 0x7FFFFFFF) % partitions
