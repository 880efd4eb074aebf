"""Pictures on other machines, through fsspec: web servers and object stores.

Nothing is fetched from a host that the user did not name: in the data or --root as a URL, or with
--urls where the data themselves name URLs. Redirects stay on such hosts, sizes are bounded, what
fails for a while is tried again.
"""

from __future__ import annotations

import contextlib
import functools
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from labelsieve import registry
from labelsieve.data.images import LARGEST_FILE
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError, LabelsieveError, RunError
from labelsieve.files import read_json, state_folder, write_json
from labelsieve.progress import plain

# How the kinds of storage are called in URLs, and the extra that brings them is `remote`.
SCHEMES = ("https", "http", "s3", "s3a", "gs", "gcs", "az", "abfs")
WEB = ("https", "http")
# pathlib makes one slash of two
MANGLED = re.compile(rf"^({'|'.join(SCHEMES)}):/(?!/)")
CONNECTIONS = 16  # at a time: what browsers and object stores take from one client
TRIES = 4
FIRST_WAIT = 0.5  # seconds before the second try; each next wait is twice as long
HOSTS = "hosts.json"  # file in the user's state folder
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
CHUNK = 1 << 16  # bytes of an answer that are taken at a time
TIMEOUT = 60.0  # seconds for one try
T = TypeVar("T")


def url_of(text: Any) -> str | None:
    """A URL of a storage that can be read; None for anything else, such as a path."""
    # "s3:/a" is what became of "s3://a"
    found = MANGLED.sub(r"\1://", str(text))
    scheme, mark, _ = found.partition("://")
    return found if mark and scheme in SCHEMES else None


def host_of(url: str) -> str:
    """Host, with its port where that is named; the bucket of an object store.

    Empty where there is none, or none that can be read, as in "http://[/a".
    """
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


class Remote:
    """Storage that may be read: hosts and buckets that the user named."""

    def __init__(self, hosts: set[str]) -> None:
        self.hosts = {host.strip().lower() for host in hosts if host.strip()}
        self._systems: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(CONNECTIONS, "labelsieve-fetch")

    def picture(self, url: str) -> RemotePicture:
        """A picture, fetched when it is wanted; without a host that fails then.

        Raises:
            DataError: its host was not named.
            MissingExtra: a library is missing, which each picture would say again.
        """
        # before anything is sent, the name of the host is looked up
        host = host_of(url)
        if host and host not in self.hosts:
            raise DataError(
                f"The data name pictures on '{plain(host)}', such as '{plain(url)[:120]}'.",
                f"Allow that with --urls {plain(','.join(sorted({*self.hosts, host})))}.",
            )
        if host:
            self._system(url)
        return RemotePicture(self, url)

    def submit(self, url: str) -> Future[bytes]:
        """Begin to fetch."""
        return self._pool.submit(self.fetch, url)

    def fetch(self, url: str, most: int = LARGEST_FILE) -> bytes:
        """Bytes of a file, one more than `most` where it has more.

        Raises:
            ImageError: with the reason.
        """

        def read() -> bytes:
            if not host_of(url):
                raise ImageError(f"'{plain(url)[:120]}' names no host")
            system = self._system(url)
            if urlsplit(url).scheme in WEB:
                asyn = registry.need("fsspec.asyn")
                data: bytes = asyn.sync(
                    system.loop, _get, system, url, most, self._allow
                )
                return data
            # no cache: each file is read once, from its start
            with system.open(url, "rb", cache_type="none") as file:
                data = file.read(most + 1)
                return data

        return tried(read)

    def names(self, url: str) -> Iterator[str]:
        """Files below a prefix of an object store, as URLs, sorted.

        Raises:
            DataError: it cannot be listed.
        """
        scheme = urlsplit(url).scheme
        if scheme in WEB:
            raise DataError(
                f"'{url}' is a folder of a web server, which cannot be listed.",
                "Name a table with the URLs of its pictures.",
            )
        try:
            found = tried(lambda: self._system(url).find(url))
        except ImageError as error:
            raise DataError(f"'{url}' cannot be listed: {error.what}.") from error
        yield from sorted(f"{scheme}://{name}" for name in found)

    def _allow(self, url: str) -> None:
        """Raises ImageError for what a redirect must not lead to."""
        host = host_of(url)
        if urlsplit(url).scheme not in WEB or host not in self.hosts:
            raise ImageError(f"it leads on to '{plain(host or url)[:120]}'")

    def _system(self, url: str) -> Any:
        scheme = urlsplit(url).scheme
        with self._lock:
            if scheme not in self._systems:
                fsspec = registry.need("fsspec")
                try:
                    self._systems[scheme] = fsspec.filesystem(
                        scheme, **self._options(scheme)
                    )
                # the library for this scheme is missing
                except ImportError as error:
                    raise DataError(
                        f"'{scheme}://' needs a library: {plain(str(error))}.",
                        "Install it with: pip install 'labelsieve[remote]'.",
                    ) from error
            return self._systems[scheme]

    def _options(self, scheme: str) -> dict[str, Any]:
        # listings of other calls would hide what is new
        common = {"use_listings_cache": False, "skip_instance_cache": True}
        # object stores do not redirect
        if scheme not in WEB:
            return common
        timeout = registry.need("aiohttp").ClientTimeout(total=TIMEOUT)
        return {**common, "client_kwargs": {"timeout": timeout}}


async def _get(system: Any, url: str, most: int, allow: Callable[[str], None]) -> bytes:
    """What a web server answers, cut after `most` bytes and one more.

    Args:
        allow: raises ImageError for a host that nothing may be asked of.
    """
    session = await system.set_session()
    target = system.encode_url(url)
    for _ in range(MOST_REDIRECTS + 1):
        # the client itself would follow further headers than Location, such as URI
        request = session.get(target, allow_redirects=False, **system.kwargs)
        async with request as answer:
            onward = answer.headers.get("Location")
            if answer.status not in REDIRECTS or not onward:
                return await _body(answer, most)
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


class RemotePicture:
    """A picture that is fetched when it is wanted, or begun to be fetched before."""

    __slots__ = ("_begun", "_remote", "url")

    def __init__(self, remote: Remote, url: str) -> None:
        self._remote = remote
        self.url = url
        self._begun: Future[bytes] | None = None

    def begin(self) -> None:
        """Fetch it in the background, a bounded number at a time."""
        self._begun = self._remote.submit(self.url)

    def read_bytes(self) -> bytes:
        """Its bytes; raises ImageError with the reason."""
        # given away, so that its bytes do not stay in memory
        begun, self._begun = self._begun, None
        return self._remote.fetch(self.url) if begun is None else begun.result()


def tried(read: Callable[[], T]) -> T:
    """What a call gives; tried again where another try may help.

    Raises:
        ImageError: with the reason of the last one.
    """
    wait = FIRST_WAIT
    for number in range(TRIES):
        try:
            return read()
        except ImageError:
            raise
        # a library is missing, which another try does not bring
        except LabelsieveError as error:
            raise ImageError(str(error).rstrip(".")) from error
        except FileNotFoundError as error:
            raise ImageError("not found") from error
        except PermissionError as error:
            raise ImageError("no permission to read it") from error
        # clients of object stores and of the web raise errors of many kinds
        except Exception as error:
            if number + 1 == TRIES or not _may_pass(error):
                raise ImageError(_reason(error)) from error
        time.sleep(wait)
        wait *= 2
    raise AssertionError("the last try returns or raises")


def _may_pass(error: Exception) -> bool:
    """Whether it may work in a moment: no answer of the server, or that it is busy."""
    # a URL that cannot be read stays what it is
    if isinstance(error, ValueError):
        return False
    status = getattr(error, "status", None)
    return status is None or status >= 500 or status == 429


def _reason(error: Exception) -> str:
    status = getattr(error, "status", None)
    if status is not None:
        return f"the server answered {status}"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"cannot be fetched: {plain(lines[0])[:200]}"


class RemoteStore:
    """Pictures below a URL, as `labelsieve.data.sources._stores.Store`."""

    def __init__(self, url: str) -> None:
        if not host_of(url):
            raise DataError(f"'{plain(url)[:120]}' names no host.", "Check the URL.")
        self.path = Path(url)
        self._url = url.rstrip("/") + "/"
        self._remote = Remote({host_of(url)})

    def names(self) -> Iterator[str]:
        """As `Store.names`."""
        for url in self._remote.names(self._url):
            yield url.removeprefix(self._url)

    def member(self, name: str) -> RemotePicture:
        """As `Store.member`."""
        # names in object stores are plain text
        quoted = quote(name) if self._url.startswith("http") else name
        return self._remote.picture(self._url + quoted)

    def fetch_table(self, name: str, most: int) -> bytes:
        """Bytes of another file, such as a table; raises DataError."""
        try:
            data = self._remote.fetch(self._url + name, most)
        except ImageError as error:
            raise DataError(f"'{self._url}{name}': {error.what}.") from error
        # half of a table would be a table, too
        if len(data) > most:
            raise DataError(f"'{self._url}{name}' has more than {most:,} bytes.")
        return data


def remember(spec: DataSpec) -> None:
    """Note the hosts that a user named: runs of the same user may read from them again."""
    named = hosts_in(spec)
    if named - known_hosts():
        hosts = sorted(named | known_hosts())
        # without a folder to write to, runs show no pictures of other machines
        with contextlib.suppress(OSError):
            write_json(state_folder() / HOSTS, {"hosts": hosts})


def hosts_in(spec: DataSpec) -> set[str]:
    """Hosts and buckets that data would be read from."""
    urls = [url_of(value) for value in (spec.data, spec.root) if value is not None]
    hosts = {host_of(url) for url in urls if url}
    return hosts | {host.strip().lower() for host in (spec.urls or "").split(",")} - {
        ""
    }


def known_hosts() -> set[str]:
    """Hosts that this user named before."""
    try:
        return set(map(str, read_json(state_folder() / HOSTS).get("hosts") or ()))
    except (RunError, OSError):
        return set()


@functools.lru_cache(maxsize=8)
def remote_of(hosts: str) -> Remote:
    """The storage of hosts that --urls names, with commas between them."""
    return Remote(set(hosts.split(",")))
