"""One file of a web server: bounded, redirects looked at, not sent again where it is known."""

from __future__ import annotations

import email.utils
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from labelsieve.data.sources._downloads import Kept
from labelsieve.errors import ImageError

MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
UNCHANGED = 304
CHUNK = 1 << 16  # bytes of an answer that are taken at a time
# Seconds after which a file that is dated to the second cannot change within that second.
SETTLED = 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server gave.

    Attributes:
        data: None where it is what is kept.
        stamp: tells this version from others; empty where the server says nothing, or asks
            not to keep it.
    """

    data: bytes | None
    stamp: Mapping[str, str]


async def get(
    system: Any, url: str, most: int, allow: Callable[[str], None], kept: Kept | None
) -> Answer:
    """What a web server answers, cut after `most` bytes and one more.

    Args:
        system: fsspec's of the web.
        allow: raises ImageError for a host that nothing may be asked of.
        kept: what it gave before.
    """
    session = await system.set_session()
    target = str(system.encode_url(url))
    for _ in range(MOST_REDIRECTS + 1):
        wanted = _unless_same(kept, target)
        # the client itself would follow further headers than Location, such as URI
        request = session.get(
            target, allow_redirects=False, headers=wanted, **system.kwargs
        )
        async with request as answer:
            onward = answer.headers.get("Location")
            if answer.status == UNCHANGED and wanted:
                return Answer(None, {})
            if answer.status not in REDIRECTS or not onward:
                return Answer(await _body(answer, most), _stamp(answer, target))
            target = urljoin(str(answer.url), onward)
        # what it is asked of was allowed; what it leads to is looked at each time
        allow(target)
    raise ImageError(f"it is led on more than {MOST_REDIRECTS} times")


async def _body(answer: Any, most: int) -> bytes:
    if answer.status in (404, 410):
        raise FileNotFoundError(str(answer.url))
    answer.raise_for_status()
    # a redirect that names no place, or an answer without a file
    if answer.status != 200:
        raise ImageError(f"the server answered {answer.status}")
    parts, size = [], 0
    async for part in answer.content.iter_chunked(CHUNK):
        parts.append(part)
        size += len(part)
        # what it says of its length need not be true
        if size > most:
            break
    return b"".join(parts)[: most + 1]


def _unless_same(kept: Kept | None, target: str) -> dict[str, str]:
    """Headers that ask for a file only where it is another one than the kept (RFC 9110, 13.1)."""
    # a tag means something at the very URL that gave it
    if kept is None or kept.stamp.get("at") != _named(target):
        return {}
    headers = {}
    if "etag" in kept.stamp:
        headers["If-None-Match"] = kept.stamp["etag"]
    elif "modified" in kept.stamp:
        headers["If-Modified-Since"] = kept.stamp["modified"]
    return headers


def _stamp(answer: Any, target: str) -> dict[str, str]:
    headers = answer.headers
    if "no-store" in headers.get("Cache-Control", "").lower():
        return {}
    stamp = {"at": _named(target)}
    if headers.get("ETag"):
        return {**stamp, "etag": headers["ETag"]}
    modified = headers.get("Last-Modified", "")
    if modified and _is_settled(modified, headers.get("Date")):
        return {**stamp, "modified": modified}
    return {}


def _named(target: str) -> str:
    # its hash: a URL may hold a password
    return hashlib.sha256(target.encode("utf-8", "surrogatepass")).hexdigest()


def _is_settled(modified: str, date: str | None) -> bool:
    """Whether a file with this date later must be the same: dates count seconds."""
    try:
        changed = email.utils.parsedate_to_datetime(modified).timestamp()
        now = time.time()
        # by the server's own clock, where it tells
        if date:
            now = email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return False
    return now - changed >= SETTLED
