"""HTTP requests of the tests. They wait two minutes for a response, because httpx's five seconds are too short on a
machine that is busy with something else.
"""

from __future__ import annotations

from functools import partial

import httpx

TIMEOUT_S = 120.0
get = partial(httpx.get, timeout=TIMEOUT_S)
post = partial(httpx.post, timeout=TIMEOUT_S)
request = partial(httpx.request, timeout=TIMEOUT_S)
client = partial(httpx.Client, timeout=TIMEOUT_S)
async_client = partial(httpx.AsyncClient, timeout=TIMEOUT_S)
