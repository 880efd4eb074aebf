"""Files as this package writes them: whole or not at all, JSON, fingerprints, paths as uris."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import platformdirs

from labelsieve.errors import DataError, RunError
from labelsieve.progress import note, plain

# Python decodes a byte of a file name that is not UTF-8 as one of these.
INVALID_BYTE = re.compile("[\udc80-\udcff]")
AGAIN = "Delete it and run the command again."
LONGEST_NAME = 200  # bytes; file systems allow 255, and a scratch name adds some
RUN = "run.json"  # a folder with it is a run, and everything in it the user's alone
ABANDONED = 86_400  # seconds after which a scratch file belongs to nobody any more
QUIET_WAIT = 1.0  # seconds that a process waits for a lock before it says so
LONGEST_WAIT = 600.0  # seconds after which it gives up
LARGEST_RECORD = 1 << 28  # bytes of JSON; a sparse giant must not fill the memory
POINTER = b"version https://git-lfs"  # of Git LFS, in place of a file
FOREVER = -1.0  # a wait without end, for work of hours


@contextlib.contextmanager
def replacing(
    path: Path, *, durable: bool = False, alone: bool = False
) -> Iterator[Path]:
    """A scratch file or folder beside `path` that takes its name when the block ends well.

    So a reader sees the old file or the whole new one, whenever the writer is killed. When
    the block raises, the scratch is removed and the old file stays.

    Args:
        durable: the bytes are on the disk before the name is, for what cannot be computed again.
        alone: no other process writes `path` now (`locked`), so what killed ones left can go.

    Yields:
        A path in the same folder with the same suffix, which does not exist yet.

    Raises:
        DataError: a folder lies where a file is to be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path, 0 if alone else ABANDONED)
    # the process number keeps two writers of one cached file from mixing their bytes
    scratch = path.with_name(f"{_stem(path)}.{os.getpid()}.partial{path.suffix}")
    remove(scratch)
    try:
        yield scratch
        if durable:
            sync_all(scratch)
        _refuse_folder(path, scratch)
        _hide(path, scratch)
        os.replace(scratch, path)
        if durable:
            sync(path.parent)
    except OSError as error:
        remove(scratch)
        # a full disk is told by the write, which knows no name, or one that nobody gave
        if error.filename is None or str(error.filename).startswith(str(scratch)):
            error.filename = str(path)
        raise
    except BaseException:
        remove(scratch)
        raise


def _refuse_folder(path: Path, scratch: Path) -> None:
    """The system would name the scratch file, which is gone when a person reads it."""
    if path.is_dir() and not path.is_symlink() and not scratch.is_dir():
        raise DataError(
            f"'{readable(path)}' is a folder, and a file is to be written there.",
            "Move it away.",
        )


def _hide(path: Path, scratch: Path) -> None:
    """Let nobody but the user read what becomes part of a run, wherever its folder is moved."""
    above = (path.parent, path.parent.parent)  # a run has folders of one level
    if path.name != RUN and not any((folder / RUN).is_file() for folder in above):
        return
    inside = scratch.rglob("*") if scratch.is_dir() else ()
    for file in (scratch, *inside):
        file.chmod(0o700 if file.is_dir() else 0o600)


def _stem(path: Path) -> str:
    """Start of the hidden names of scratch files of `path`, short enough for every system."""
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".{name}"


def _sweep(path: Path, age: float) -> None:
    """Remove what writers of `path` left behind that were killed more than `age` seconds ago."""
    stem = _stem(path)
    # the number of a process: scratch files of "a.b" do not belong to "a"
    number = re.compile(re.escape(stem) + r"\.\d+\.partial" + re.escape(path.suffix))
    for name in glob.glob(f"{glob.escape(str(path.with_name(stem)))}.*.partial*"):
        with contextlib.suppress(OSError):
            old = time.time() - os.stat(name).st_mtime >= age
            if old and number.fullmatch(os.path.basename(name)):
                remove(Path(name))


def remove(path: Path) -> None:
    """Delete a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_all(path: Path) -> None:
    """Make a file, or a folder with all its files, durable; raises as `sync`."""
    if path.is_dir():
        for file in path.rglob("*"):
            if file.is_file():
                sync(file)
    sync(path)


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, durable where the system can.

    Raises:
        OSError: the disk could not take what was written.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # Windows cannot open a folder
        return
    try:
        os.fsync(handle)
    except OSError as error:
        # Windows wants a handle for writing; some network disks cannot do it at all
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def path_to_uri(path: str | os.PathLike[str]) -> str:
    """A path as text that is always valid UTF-8: bytes that are not, and '%', become %XX."""
    text = os.fspath(path).replace("%", "%25")
    if text.isascii():
        return text
    return INVALID_BYTE.sub(lambda c: f"%{ord(c[0]) - 0xDC00:02X}", text)


def uri_to_path(uri: str) -> str:
    """The inverse of `path_to_uri`."""
    return os.fsdecode(unquote_to_bytes(os.fsencode(uri)))


def resolve_inside(root: Path, uri: str) -> Path:
    """The path that `uri` names below `root`, once it is known that it cannot lead out.

    For names that come with data, patches and histories, which strangers may have written.
    The last part may be a link: renaming or removing it does nothing to what it leads to.

    Args:
        uri: relative, as `path_to_uri` writes it.

    Raises:
        DataError: it is absolute, climbs with "..", is spelled in a way that `path_to_uri`
            never does ("%2F"), or a linked folder on its way lies elsewhere.
    """
    path = below(root, uri)
    if path is None or not is_inside(root, path):
        shown = ascii(uri) if not isinstance(uri, str) else f"'{plain(uri)}'"
        raise DataError(
            f"{shown} does not lie inside '{readable(root)}'.",
            "It was not made for these data.",
        )
    return path


def below(root: Path, uri: str) -> Path | None:
    """`root` and what a relative uri adds to it, no link followed; None where it may not."""
    try:
        name = uri_to_path(uri)
        canonical = path_to_uri(name) == uri
    except (TypeError, ValueError, AttributeError):
        # no text at all, or half a surrogate pair, which no file system can hold
        return None
    relative = Path(name)
    # a drive without a root ("C:x") is not absolute, and yet leads out on Windows
    foreign = relative.is_absolute() or relative.drive or relative.root
    if not canonical or not name or "\0" in name or foreign or ".." in relative.parts:
        return None
    return root / relative


def is_inside(root: Path, path: Path) -> bool:
    """Whether the folder that holds `path` is `root` or lies in it, all links followed."""
    try:
        home = root.resolve()
        folder = path.parent.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, zero bytes
        return False
    return path.name != ".." and folder.is_relative_to(home)


class Bounds:
    """Folders that pictures may lie in, all links on their way followed.

    Received data may hold links: a name that looks harmless then shows anybody's files.

    Args:
        homes: as a user named them; each may be a link itself.
    """

    def __init__(self, *homes: str | os.PathLike[str]) -> None:
        self._homes = [os.path.realpath(home) for home in homes]
        # a million pictures lie in few folders
        self._known: dict[str, str] = {}

    def hold(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file or folder, which need not exist, lies in one of them."""
        try:
            real = self.real(path)
        except (OSError, ValueError):  # a zero byte
            return False
        return any(lies_in(real, home) for home in self._homes)

    def real(self, path: str | os.PathLike[str]) -> str:
        """Where a path leads to; raises ValueError for what is no path at all."""
        folder, name = os.path.split(os.fspath(path))
        if name in ("", os.curdir, os.pardir):
            return os.path.realpath(path)
        if folder not in self._known:
            self._known[folder] = os.path.realpath(folder)
        whole = os.path.join(self._known[folder], name)
        return os.path.realpath(whole) if os.path.islink(whole) else whole


def lies_in(path: str, folder: str) -> bool:
    """Whether a path lies in a folder, both without links; a folder lies in itself."""
    return path == folder or path.startswith(os.path.join(folder, ""))


def state_folder() -> Path:
    """Where this user's locks and secrets lie: LABELSIEVE_STATE, or the user's state folder."""
    named = os.environ.get("LABELSIEVE_STATE")
    return Path(named) if named else platformdirs.user_state_path("labelsieve")


@contextlib.contextmanager
def locked(
    path: Path,
    what: str,
    beside: Path | None = None,
    *,
    longest: float = LONGEST_WAIT,
) -> Iterator[None]:
    """Keep other processes from `path` while the block runs; they wait, and say so.

    The lock is a file in the user's own state folder, so nothing is written where `path` is
    and data that may only be read can be locked. It ends with the process, however that ends.
    A thread may lock again what it has locked.

    Args:
        path: file or folder to work on; it need not exist.
        what: how a person calls it, in messages.
        beside: a further lock file, for other users of a shared folder; its folder exists.
        longest: seconds to wait for another process, or FOREVER.

    Raises:
        RunError: another process has it for longer.
    """
    name = fingerprint(os.fspath(path.resolve()))
    files = [state_folder() / "locks" / f"{name}.lock"]
    if beside is not None:
        files.append(beside)
    with contextlib.ExitStack() as held:
        for file in files:
            _lock(file, what, held, longest)
        yield


def _lock(file: Path, what: str, held: contextlib.ExitStack, longest: float) -> None:
    """Take one lock, until `held` ends."""
    # most calls lock nothing, and start sooner without it
    from filelock import FileLock, Timeout

    # one object per file and process: that is what lets a thread lock twice
    lock = FileLock(file, is_singleton=True)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.enter_context(lock.acquire(timeout=QUIET_WAIT))
        except Timeout:
            note(f"Another labelsieve works on {what}; waiting until it has ended.")
            held.enter_context(lock.acquire(timeout=longest))
    except Timeout as error:
        raise RunError(
            f"Another labelsieve still works on {what}.",
            "Call again when it has ended.",
        ) from error
    except OSError:
        # without a folder to write to there is no lock, and less to protect
        return


def readable(path: str | os.PathLike[str]) -> str:
    """A path as a person reads it.

    Bytes that are not UTF-8, and what would steer a terminal, are shown as escapes.
    """
    return plain(os.fsdecode(path))


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that name a JSON-able value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """Checksum of a file's bytes, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Raises RunError when the file is missing, damaged, or a pipe or device."""
    try:
        refuse_endless(path)
        if path.is_file() and path.stat().st_size > LARGEST_RECORD:
            raise ValueError(f"it is larger than {LARGEST_RECORD >> 20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(
            f"'{path}' is missing.",
            "Run labelsieve scan again with the same options; it continues.",
        ) from error
    except OSError as error:
        reason = "it is a folder, not a file" if path.is_dir() else error
        raise RunError(f"'{readable(path)}' cannot be read: {reason}.") from error
    # brackets nested by the thousand end in a RecursionError
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is damaged: {error}.", AGAIN) from error
    if not isinstance(content, dict):
        raise RunError(f"'{path}' is damaged: it is not a JSON object.", AGAIN)
    return content


class EndlessError(OSError):
    """Something is no file and would be read without end."""

    def __str__(self) -> str:
        # beside a name, without the number and the name that the system would add
        return str(self.strerror)


def refuse_endless(path: Path) -> None:
    """Refuse what would be waited for, or read, without end: pipes, devices, sockets.

    For every file of a fixed name in a folder that somebody else may have filled.

    Raises:
        EndlessError: with the path; what is not there is for the reader to tell.
    """
    try:
        kind = path.stat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        words = "it is a pipe or a device, not a file"
        raise EndlessError(errno.EINVAL, words, readable(path))


def write_json(path: Path, value: Mapping[str, Any], *, private: bool = False) -> None:
    """Write so that a reader sees the old file or the whole new one.

    Args:
        private: nobody but the user may read it, also where its folder is moved.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
    with replacing(path) as scratch:
        scratch.touch(0o600 if private else 0o666)
        scratch.write_text(text, encoding="utf-8")
