"""Read, write and remove files: the only door through which droplan changes the file system.

Every write is atomic and survives a power loss: a temporary file beside the target, fsync, rename, fsync of the
directory. Links are never followed, and nothing is written below a directory that others than root may write.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from droplan_boot.errors import DroplanError, UnsafePathError
from droplan_boot.host import unfinished


class Files:
    """The file system below ``root``.

    Args:
        root: what stands for ``/``; tests name a directory of their own.
        owner: the uid that must own what we write and the directories above it.
    """

    def __init__(self, root: Path = Path("/"), owner: int = 0) -> None:
        self.root = root
        self.owner = owner

    def real(self, path: Path) -> Path:
        """Where ``path`` (absolute) is below the root."""
        return self.root.joinpath(*path.parts[1:])  # a third of what relative_to() costs, ninety times a refresh

    def exists(self, path: Path) -> bool:
        """Whether there is anything at ``path``, a dangling link included."""
        return os.path.lexists(self.real(path))

    def mode(self, path: Path) -> int:
        """Tell the permission bits of what is at ``path``, which must be there."""
        return stat.S_IMODE(os.lstat(self.real(path)).st_mode)

    def mark(self, path: Path) -> str:
        """Tell a file's state without reading it: another once it was written, replaced or given other permissions.

        Returns:
            Numbers that mean nothing by themselves; "" when there is nothing at ``path``.
        """
        try:
            found = os.lstat(self.real(path))
        except OSError:
            return ""
        return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"

    def read(self, path: Path, *, limit: int = 64 << 20) -> bytes | None:
        """Read a regular file.

        Returns:
            Its bytes; None when it is missing or is no regular file (a link included).

        Raises:
            DroplanError: it cannot be read or is larger than ``limit`` bytes.
        """
        try:
            descriptor = os.open(self.real(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return None
            raise DroplanError(f"{path} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            return None
        with open(descriptor, "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise DroplanError(f"{path} is larger than {limit} bytes: look what it is, then remove it")
        return data

    def trust(self, path: Path) -> None:
        """See that nobody but the owner can have written ``path``, if it is there.

        Raises:
            UnsafePathError: others can have; what it says may be theirs.
        """
        try:
            found = os.lstat(self.real(path))
        except (FileNotFoundError, NotADirectoryError):
            return
        self.directory(path.parent)
        if found.st_uid != self.owner or found.st_mode & 0o022:
            raise UnsafePathError(
                f"{path} can have been written by others than root: see what it says, "
                f"then `chown root:root {path} && chmod 600 {path}` and run droplan again"
            )

    def restrict(self, path: Path, mode: int) -> str | None:
        """Take permissions beyond ``mode`` from a regular file; return what it had, None when there were none."""
        try:
            descriptor = os.open(self.real(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None  # there is none, or none that read() would read
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or not stat.S_IMODE(found.st_mode) & ~mode:
                return None
            os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & mode)
        except OSError as error:
            raise DroplanError(f"{path} cannot be kept from others: {error.strerror}; mend that") from None
        finally:
            os.close(descriptor)
        return f"mode {stat.S_IMODE(found.st_mode):04o}"

    def problem(self, path: Path, data: bytes, mode: int) -> str | None:
        """Say in a word or two how ``path`` differs from what it should be.

        Args:
            path: an absolute path.
            data: the bytes it should hold.
            mode: the permission bits it should have.

        Returns:
            None when it is as it should be, else such as ``missing``, ``altered`` or ``mode 0644``.
        """
        try:
            found = os.lstat(self.real(path))
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        if not stat.S_ISREG(found.st_mode):
            return "not a regular file"
        if found.st_nlink != 1:
            return "hard-linked elsewhere"
        if found.st_uid != self.owner:
            return f"owned by uid {found.st_uid}"
        if stat.S_IMODE(found.st_mode) != mode:
            return f"mode {stat.S_IMODE(found.st_mode):04o}"
        if found.st_size != len(data) or self.read(path) != data:
            return "altered" if found.st_size else "empty"
        if os.path.lexists(unfinished.beside(self.real(path))):
            return "about to be written by a run that was killed"
        return None

    def ensure(self, path: Path, data: bytes, mode: int) -> str | None:
        """Make ``path`` hold ``data`` with ``mode``; return what was wrong, None when nothing was."""
        problem = self.problem(path, data, mode)
        if problem:
            self.write(path, data, mode)
        return problem

    def write(self, path: Path, data: bytes, mode: int, *, lasting: bool = True) -> None:
        """Write a file in one step that survives a power loss.

        Args:
            path: an absolute path.
            data: what it is to hold.
            mode: its permission bits.
            lasting: whether it has to survive one; waiting for the disk is half of what a small file costs.

        Raises:
            UnsafePathError: a directory above it can be written by others.
            DroplanError: the disk is full, read-only or broken; the old file is as it was.
        """
        target = self.real(path)
        try:
            self.directory(path.parent)
            if target.is_dir() and not target.is_symlink() and not self.remove_directory(path):
                raise UnsafePathError(f"{path} is a directory: move it away and run droplan again")
            temporary = unfinished.beside(target)
            with open(unfinished.begin(temporary, self.owner), "wb") as file:
                try:
                    file.write(data)
                    file.flush()
                    os.fchmod(file.fileno(), mode)
                    if lasting:
                        os.fsync(file.fileno())
                    os.rename(temporary, target)
                except BaseException:
                    self._unlink(temporary)
                    raise
            if lasting:
                _sync_directory(target.parent)
        except OSError as error:
            raise DroplanError(
                f"{path} cannot be written: {error.strerror}; mend that and run droplan again"
            ) from None

    def target(self, path: Path) -> str | None:
        """Tell where a symbolic link leads; None when ``path`` is none."""
        try:
            return os.readlink(self.real(path))
        except OSError:
            return None

    def link(self, path: Path, target: Path) -> None:
        """Make a symbolic link in one step; its directory is made if it is missing.

        Raises:
            DroplanError: something else than a link is there, or it cannot be made.
        """
        place = self.real(path)
        if self.exists(path) and self.target(path) is None:
            raise DroplanError(f"{path} is there and not ours: move it away and run droplan again")
        try:
            os.makedirs(place.parent, 0o755, exist_ok=True)
            temporary = unfinished.beside(place)
            self._unlink(temporary)
            os.symlink(target, temporary)
            os.rename(temporary, place)
        except OSError as error:
            raise DroplanError(f"{path} cannot be linked: {error.strerror}") from None

    def append(self, path: Path, data: bytes, mode: int, *, keep: int) -> None:
        """Append to a log, which is cut to its newest half whenever it grows beyond ``keep`` bytes.

        Raises:
            UnsafePathError: it is a link, so that the words would land elsewhere.
            DroplanError: it cannot be written.
        """
        target = self.real(path)
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(target, flags, mode)
            with open(descriptor, "ab") as file:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_uid != self.owner:
                    raise UnsafePathError(f"{path} is not a plain file of root's: remove it and run droplan again")
                os.fchmod(descriptor, mode)
                file.write(data)
                size = found.st_size + len(data)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise UnsafePathError(f"{path} is a link: remove it and run droplan again") from None
            raise DroplanError(
                f"{path} cannot be written: {error.strerror}; mend that and run droplan again"
            ) from None
        if size > keep:
            recent = (self.read(path) or b"")[-keep // 2 :]
            self.write(path, recent.partition(b"\n")[2], mode)

    def directory(self, path: Path) -> None:
        """Make a directory (0755) and those above it, and see that only their owner may write them.

        Raises:
            UnsafePathError: one of them is a link, not the owner's, or writable by others.
        """
        place = self.root
        for part in path.parts[1:]:
            place = place / part
            try:
                found = os.lstat(place)
            except FileNotFoundError:
                self._make_directory(place)
                continue
            shown = Path("/", place.relative_to(self.root))
            if not stat.S_ISDIR(found.st_mode):
                raise UnsafePathError(f"{shown} is not a directory: move it away and run droplan again")
            if found.st_uid != self.owner or found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != 0):
                if shown == Path("/var/log"):
                    continue  # Debian's syslog group may write there; append() looks at the file itself
                raise UnsafePathError(
                    f"{shown} can be written by others than root: "
                    f"`chown root:root {shown} && chmod 755 {shown}`, then run droplan again"
                )

    def _make_directory(self, place: Path) -> None:
        try:
            os.mkdir(place, 0o755)
            os.chmod(place, 0o755)  # noqa: S103 (readable directories; what is secret is 0600)
            _sync_directory(place.parent)
        except FileExistsError:
            pass  # another droplan was faster; what it made is looked at like any other
        except OSError as error:
            shown = Path("/", place.relative_to(self.root))
            raise DroplanError(f"{shown} cannot be made: {error.strerror}; mend that and run droplan again") from None

    def remove(self, path: Path) -> bool:
        """Remove a file or link, and what a killed run began to write for it; return whether there was one."""
        try:
            half = self._unlink(unfinished.beside(self.real(path)))
            return self._unlink(self.real(path)) or half
        except OSError as error:
            raise DroplanError(f"{path} cannot be removed: {error.strerror}") from None

    def remove_tree(self, path: Path) -> bool:
        """Remove a directory and all in it, following no link; return whether there was one.

        Raises:
            DroplanError: something in it cannot be removed.
        """
        if not self.exists(path):
            return False
        import shutil  # with compressors of all kinds; only an uninstall needs it

        try:
            shutil.rmtree(self.real(path))
        except OSError as error:
            raise DroplanError(f"{path} cannot be removed: {error.strerror}") from None
        return True

    def remove_directory(self, path: Path) -> bool:
        """Remove a directory if it is empty; return whether it went."""
        try:
            os.rmdir(self.real(path))
        except OSError:
            return False
        return True

    @staticmethod
    def _unlink(place: Path) -> bool:
        try:
            os.unlink(place)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def create(path: Path, data: bytes, mode: int) -> bool:
    """Write a file where a person says, who need not be root; never over one that is there.

    Returns:
        Whether it was written; False when there was something already.

    Raises:
        DroplanError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError:
        return False
    except OSError as error:
        raise DroplanError(f"{path} cannot be written: {error.strerror}; mend that") from None
    return True


def _sync_directory(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
