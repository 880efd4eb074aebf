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
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from labelsieve import registry
from labelsieve.data.images import LARGEST_FILE
from labelsieve.data.sources import _downloads, _web
from labelsieve.data.spec import DataSpec
from labelsieve.errors import DataError, ImageError, LabelsieveError, RunError
from labelsieve.files import read_json, state_folder, write_json
from labelsieve.progress import plain

# How the kinds of storage are called in URLs.
SCHEMES = ("https", "http", "s3", "s3a", "gs", "gcs", "az", "abfs")
WEB = ("https", "http")
# The extra that brings a store's library; those of Google and Azure are large.
STORES = {"gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure"}
EXTRAS = {scheme: STORES.get(scheme, "remote") for scheme in SCHEMES}
# pathlib makes one slash of two
MANGLED = re.compile(rf"^({'|'.join(SCHEMES)}):/(?!/)")
CONNECTIONS = 16  # at a time: what browsers and object stores take from one client
TRIES = 4
FIRST_WAIT = 0.5  # seconds before the second try; each next wait is twice as long
HOSTS = "hosts.json"  # file in the user's state folder
TIMEOUT = 60.0  # seconds for one try
TIMES = ("lastmodified", "updated", "mtime", "created")  # as stores call them
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

    def picture(
        self, url: str, stamp: Mapping[str, str] | None = None
    ) -> RemotePicture:
        """A picture, fetched when it is wanted; without a host that fails then.

        Args:
            stamp: its version, where a listing told it.

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
        return RemotePicture(self, url, stamp)

    def submit(self, url: str, stamp: Mapping[str, str] | None = None) -> Future[bytes]:
        """Begin to fetch."""
        return self._pool.submit(self.fetch, url, stamp=stamp)

    def fetch(
        self,
        url: str,
        most: int = LARGEST_FILE,
        stamp: Mapping[str, str] | None = None,
    ) -> bytes:
        """Bytes of a file, one more than `most` where it has more.

        What was fetched before and is still the same there comes from the cache.

        Raises:
            ImageError: with the reason.
        """
        if not host_of(url):
            raise ImageError(f"'{plain(url)[:120]}' names no host")
        downloads = _downloads.of_cache()
        kept = downloads.find(url)
        if kept is not None and _downloads.is_taken(url):
            return kept.data[: most + 1]
        web = urlsplit(url).scheme in WEB
        # a lambda each, as what fails is tried again
        if web:
            answer = tried(lambda: self._from_web(url, most, kept))
        else:
            answer = tried(lambda: self._from_store(url, most, stamp, kept))
        if answer.data is None:
            return kept.data[: most + 1] if kept is not None else b""
        # what is too large is refused, and not kept
        if len(answer.data) <= most:
            downloads.put(url, answer.stamp, answer.data)
        return answer.data

    def _from_web(
        self, url: str, most: int, kept: _downloads.Kept | None
    ) -> _web.Answer:
        system = self._system(url)
        asyn = registry.need("fsspec.asyn")
        answer: _web.Answer = asyn.sync(
            system.loop, _web.get, system, url, most, self._allow, kept
        )
        return answer

    def _from_store(
        self,
        url: str,
        most: int,
        stamp: Mapping[str, str] | None,
        kept: _downloads.Kept | None,
    ) -> _web.Answer:
        system = self._system(url)
        if stamp is None:
            stamp = stamp_of(system.info(url))
        if kept is not None and stamp and kept.stamp == stamp:
            return _web.Answer(None, stamp)
        # a part of nothing cannot be asked for
        if stamp.get("size") == "0":
            return _web.Answer(b"", stamp)
        data: bytes = system.cat_file(url, start=0, end=most + 1)
        # it was exchanged since it was asked about
        if stamp and str(len(data)) != stamp["size"]:
            stamp = {}
        return _web.Answer(data, stamp)

    def listed(self, url: str) -> dict[str, dict[str, str]]:
        """Files below a prefix of an object store: URL -> stamp, sorted.

        Raises:
            DataError: it cannot be listed.
        """
        scheme = urlsplit(url).scheme
        if scheme in WEB:
            raise DataError(
                f"'{url}' is a folder of a web server, which cannot be listed.",
                "Name a table with the URLs of its pictures.",
            )
        # a library that is missing is told as such
        system = self._system(url)
        try:
            found = tried(lambda: system.find(url, detail=True))
        except ImageError as error:
            raise DataError(f"'{url}' cannot be listed: {error.what}.") from error
        # a few stores put a slash before the name of the bucket
        return {
            f"{scheme}://{n.lstrip('/')}": stamp_of(found[n]) for n in sorted(found)
        }

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
                        f"'{scheme}://' needs a library: {plain(str(error)).rstrip('.')}.",
                        f"Install it with: pip install 'labelsieve[{EXTRAS[scheme]}]'.",
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


def stamp_of(about: Mapping[str, Any]) -> dict[str, str]:
    """What tells this version of an object from others; empty where its store says nothing.

    Args:
        about: what fsspec knows of it, from a listing or by itself; keys differ among stores.
    """
    lower = {str(key).lower().replace("_", ""): value for key, value in about.items()}
    if lower.get("size") is None:
        return {}
    stamp = {"size": str(lower["size"])}
    # a tag of the content; else when it was written
    for names in (("etag", "generation", "md5hash"), TIMES):
        for name in names:
            if lower.get(name):
                return {**stamp, name: str(lower[name]).strip('"')}
    return {}


class RemotePicture:
    """A picture that is fetched when it is wanted, or begun to be fetched before."""

    __slots__ = ("_begun", "_remote", "_stamp", "url")

    def __init__(
        self, remote: Remote, url: str, stamp: Mapping[str, str] | None = None
    ) -> None:
        self._remote = remote
        self.url = url
        self._stamp = stamp
        self._begun: Future[bytes] | None = None

    def begin(self) -> None:
        """Fetch it in the background, a bounded number at a time."""
        self._begun = self._remote.submit(self.url, self._stamp)

    def read_bytes(self) -> bytes:
        """Its bytes; raises ImageError with the reason."""
        # given away, so that its bytes do not stay in memory
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun.result()
        return self._remote.fetch(self.url, stamp=self._stamp)


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
        self._stamps: dict[str, dict[str, str]] = {}

    def names(self) -> Iterator[str]:
        """As `Store.names`."""
        # with the version of each: nothing has to be asked about a picture that is kept
        self._stamps = self._remote.listed(self._url)
        # a list, as stamps go when they are used
        for url in list(self._stamps):
            yield url.removeprefix(self._url)

    def member(self, name: str) -> RemotePicture:
        """As `Store.member`."""
        # names in object stores are plain text
        quoted = quote(name) if self._url.startswith("http") else name
        url = self._url + quoted
        # once: a picture that is read later may be another one by then
        return self._remote.picture(url, self._stamps.pop(url, None))

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
