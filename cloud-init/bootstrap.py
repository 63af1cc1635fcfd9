try:
    USAGE = """\
Fetch droplan.pyz, check it, find a Python that can run it, and run `droplan.pyz install`.

    curl -fsSL URL/bootstrap.py | sudo python3 - --url URL/droplan.pyz --sha256 HEX [INSTALL OPTIONS]

  --url URL             where droplan.pyz is; https only, and so is every redirect
  --sha256 HEX          its SHA-256; nothing else is ever run
  --python-url URL      a CPython >= 3.9 (.tar.gz with python/bin/python3), for where neither the system nor its
                        packages have one; by default a build of python-build-standalone
  --python-sha256 HEX   its SHA-256
  --help                show this

These come first; everything after them is passed to `install` (which asks for the token at a terminal, or takes it from
`--token-file FILE`), and so is the environment (DO_TAG, ...)
without SHIV_* and PYTHON*. It is safe to run again, after any failure and while another one runs.

Exit codes, each with one sentence on stderr; otherwise it is that of `droplan install`:
   2  the command line is wrong
  10  the network: no answer, or none in time, several times over
  11  TLS: the server's certificate is not valid here, or a redirect leaves https
  12  the server refused, such as 404 Not Found
  13  what came is not what was asked for: wrong SHA-256, or cut short
  14  no Python >= 3.9, and none could be installed
  15  the disk is full
  16  /opt/droplan is not safe: somebody other than root could change what is in it
  17  not run as root
  18  the system refused something else
  19  another bootstrap has been at work for too long
  20  the archive of --python-url is damaged, or would write outside its directory
"""

    # Cut short
    #
    # This file is piped into `python3 -`, and pipes break. A program cut off between two statements is a smaller
    # program, just as valid, that ends with status 0. So the first word opens a `try` that only the last line
    # completes: no part of this file compiles, on any Python, and what does not compile does nothing and fails.
    # Hence no `#!`, comment or docstring goes before it, everything is indented, and the last line ends in a
    # parenthesis. (Nothing at all is a valid program too: where curl fails, `python3 -` ends with status 0.)
    #
    # Standard library only, for Python 2.7 and 3.6 to 3.14: this must run where droplan itself cannot run yet.

    import contextlib
    import errno
    import fcntl
    import hashlib
    import os
    import re
    import shutil
    import signal
    import ssl
    import stat
    import subprocess
    import sys
    import tarfile
    import time
    import zlib

    try:
        from http.client import HTTPException
        from urllib.error import HTTPError, URLError
        from urllib import request as urllib_request
    except ImportError:  # Python 2.7
        from httplib import HTTPException
        from urllib2 import HTTPError, URLError
        import urllib2 as urllib_request

    USAGE_ERROR = 2
    NETWORK, TLS, REFUSED, CORRUPT, NO_PYTHON, DISK_FULL = 10, 11, 12, 13, 14, 15
    UNSAFE, NOT_ROOT, SYSTEM, BUSY, BAD_ARCHIVE = 16, 17, 18, 19, 20
    INTERRUPTED = 130

    DIRECTORY = "/opt/droplan"
    PYZ = DIRECTORY + "/droplan.pyz.download"
    LOCK = DIRECTORY + "/.bootstrap.lock"
    PRIVATE = DIRECTORY + "/python"
    # What is not finished has a fixed name: the lock allows one writer, and a killed one's is removed by the next.
    PART = ".part"
    ARCHIVE = DIRECTORY + "/.python.tar.gz"
    UNPACKED = DIRECTORY + "/.python.unpacked"
    REPLACED = DIRECTORY + "/.python.replaced"
    UNFINISHED = (PYZ + PART, ARCHIVE + PART, ARCHIVE, UNPACKED, REPLACED)

    # /usr/local is left out: on some distributions a group other than root's may write there.
    PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
    TOKENS = ("DO_KEY", "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN")

    OLDEST_MINOR, NEWEST_MINOR = 9, 14
    PROBE = "import ctypes, ssl, sys, zlib; sys.exit(sys.version_info < (3, %d))" % OLDEST_MINOR
    STANDALONE = (
        "https://github.com/astral-sh/python-build-standalone/releases/download/20260814/"
        "cpython-3.12.14%2B20260814-MACHINE-unknown-linux-gnu-install_only_stripped.tar.gz"
    )
    STANDALONE_SHA256 = {
        "x86_64": "5acfa3e9ba26b51ae161c83aff278da915b590d22373a424b2ba55b8afe91fcc",
        "aarch64": "2d8e17dfd732102cfeb18e0e1fa6769b24caa034e159981129590fe409c7157a",
    }

    TIMEOUT = 30  # seconds for the server to say anything
    LONGEST = 900  # seconds for all of a download: one that says a byte now and then never ends by TIMEOUT
    LARGEST = 256 << 20  # bytes; a Python has some 30 MB, droplan less than 3
    # Seconds. In all, long enough for a first boot's network to come up, and for its own apt runs to end.
    RETRY_WAITS = (1, 2, 4, 8, 16)
    APT_WAITS = (5, 10, 20, 40, 80, 160)
    APT_OPTIONS = [
        "-o",
        "DPkg::Lock::Timeout=300",
        "-o",
        "Acquire::Retries=3",
        "-o",
        "Dpkg::Options::=--force-confold",
    ]
    LOCK_TRIES = 600  # one a second

    class Failure(Exception):
        """What stops the bootstrap: an exit code of USAGE, and a sentence that says what to do next."""

        def __init__(self, code, sentence):
            Exception.__init__(self, sentence)
            self.code = code

    class Passing(Failure):
        """A failure that may be gone in a moment."""

    def say(line):
        """Report on stderr, in one line: what servers and libraries say may have several."""
        sys.stderr.write("droplan bootstrap: %s\n" % " ".join(str(line).split()))
        sys.stderr.flush()

    # The command line

    def parse(arguments):
        """Split the command line.

        Args:
            arguments: without the program's name.

        Returns:
            The options by name, with both Python options or neither, and the arguments that are for `install`.

        Raises:
            Failure: an option is missing, or its value is not an https address or a SHA-256.
        """
        options, rest = {}, list(arguments)
        while rest and rest[0].partition("=")[0] in ("--url", "--sha256", "--python-url", "--python-sha256"):
            name, equals, value = rest.pop(0).partition("=")
            options[name] = value if equals else rest.pop(0) if rest else ""
        required = ["--url", "--sha256"]
        if "--python-url" in options or "--python-sha256" in options:
            required += ["--python-url", "--python-sha256"]
        for name in required:
            value = options.get(name)
            if value is None:
                raise Failure(USAGE_ERROR, "%s is missing (it goes before what is for install): see --help." % name)
            if name.endswith("url") and not is_https(value):
                raise Failure(USAGE_ERROR, "%s must be an address that begins with https://." % name)
            if name.endswith("sha256") and not re.match(r"[0-9a-fA-F]{64}\Z", value):
                raise Failure(USAGE_ERROR, "%s must be 64 hexadecimal digits, as sha256sum prints them." % name)
        return options, rest

    def is_https(url):
        host, port, path = r"https://([a-z0-9.-]+|\[[0-9a-f:.]+\])", r"(:(?P<port>[0-9]{1,5}))?", r"([/?][!-~]*)?\Z"
        found = re.match(host + port + path, url, re.I)
        return found is not None and int(found.group("port") or 443) < 1 << 16

    # What only root can change

    def replaceable(path):
        """Find who could put something else in a path's place.

        Returns:
            The first file, link or directory on the way to `path`, symbolic links followed, that somebody other
            than root may change; None if there is none. Sticky directories do not count as safe: who may create a
            name there may be first.
        """
        path = os.path.abspath(path)
        parent = os.path.dirname(path)
        culprit = replaceable(parent) if parent != path else None
        if culprit:
            return culprit
        found = os.lstat(path)
        if found.st_uid != 0:
            return path
        if stat.S_ISLNK(found.st_mode):
            return replaceable(os.path.join(os.path.realpath(parent), os.readlink(path)))
        return path if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else None

    def make_safe_directory(path):
        """Make a directory, and its parents, that only root can write to; refuse one that is there and is not."""
        if not os.path.lexists(path):
            make_safe_directory(os.path.dirname(path))
            try:
                os.mkdir(path, 0o755)
            except OSError as error:
                if error.errno != errno.EEXIST:  # a bootstrap beside us was faster
                    raise
        if os.path.realpath(path) != path or not os.path.isdir(path):
            raise Failure(
                UNSAFE, "%s is a symbolic link, or not a directory: move it away and run this again." % path
            )
        culprit = replaceable(path)
        if culprit:
            raise Failure(
                UNSAFE,
                "%s can be changed by others than root: `chown root:root %s; chmod go-w %s`, make sure that you know "
                "what is in it, and run this again." % (culprit, culprit, culprit),
            )

    def lock():
        """Wait for other bootstraps in DIRECTORY. The lock ends with this process, or when it becomes droplan."""
        handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.fcntl(handle, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        for attempt in range(LOCK_TRIES):
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except EnvironmentError as error:
                if error.errno != errno.EWOULDBLOCK:
                    raise
            if attempt == 0:
                say("waiting for another bootstrap to finish")
            time.sleep(1)
        raise Failure(BUSY, "another bootstrap holds %s: see what it waits for, then run this again." % LOCK)

    # Files

    def remove(path):
        """Remove a file or a tree, if it is there."""
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)

    def remove_unfinished():
        for path in UNFINISHED:
            remove(path)

    def create(path, mode):
        """Open a new file for writing; never one that is there, nor through a link."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        return os.fdopen(handle, "wb")

    def sync_directory(path):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def is_in_place(path, sha256):
        """Say whether a regular file with these contents is there, which only root can change."""
        if os.path.islink(path) or not os.path.isfile(path) or replaceable(path):
            return False
        digest = hashlib.sha256()
        with open(path, "rb") as existing:
            for block in iter(lambda: existing.read(1 << 16), b""):
                digest.update(block)
        return digest.hexdigest() == sha256.lower()

    # Downloads

    class HttpsRedirects(urllib_request.HTTPRedirectHandler):
        """Follow redirects, 308 as well, as long as they stay encrypted."""

        def redirect_request(self, req, fp, code, msg, headers, newurl):
            if not is_https(newurl):
                raise Failure(
                    TLS,
                    "%s leads to %s, which is not https: use another --url."
                    % (shown(req.get_full_url()), shown(newurl)),
                )
            return urllib_request.Request(newurl)

        http_error_308 = urllib_request.HTTPRedirectHandler.http_error_302

    def shown(url):
        """Leave out what may be a signature, as in the addresses that Spaces signs: output ends up in logs."""
        return url.partition("?")[0]

    def open_url(url):
        """Open an address with the machine's own certificate store. There is a handler for https and no other."""
        opener = urllib_request.OpenerDirector()
        for handler in (
            urllib_request.ProxyHandler(),
            urllib_request.HTTPSHandler(context=ssl.create_default_context()),
            HttpsRedirects(),
            urllib_request.HTTPDefaultErrorHandler(),
            urllib_request.HTTPErrorProcessor(),
            urllib_request.UnknownHandler(),
        ):
            opener.add_handler(handler)
        try:
            return opener.open(urllib_request.Request(url), timeout=TIMEOUT)
        except HTTPError as error:
            kind = Passing if error.code == 429 or error.code >= 500 else Failure
            raise kind(
                REFUSED,
                "%s answered %s %s: check that the address is right and public, or try later."
                % (shown(url), error.code, error.msg),
            )
        except (EnvironmentError, HTTPException, ValueError) as error:  # ValueError: a name that cannot be one
            raise network_failure(url, error)

    def blocks(url, response):
        """Give the body piece by piece, so that an error of the network is not taken for one of the disk."""
        while True:
            try:
                block = response.read(1 << 16)
            except (EnvironmentError, HTTPException) as error:
                if isinstance(error, ssl.SSLError) and "eof" in str(error).lower():
                    return  # closed without a TLS farewell; the length tells whether all of it came
                raise network_failure(url, error)
            if not block:
                return
            yield block

    def network_failure(url, error):
        """Tell certificates, which stay wrong, from what may pass. Python 2.7 raises timeouts as SSLError."""
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, ssl.CertificateError) or "CERTIFICATE_VERIFY_FAILED" in str(cause):
            return Failure(
                TLS,
                "%s has no valid certificate (%s): check the address, this machine's clock and its ca-certificates."
                % (shown(url), cause),
            )
        if isinstance(cause, ssl.SSLError) and "timed out" not in str(cause):
            return Passing(TLS, "%s does not speak TLS as it should (%s): check the address." % (shown(url), cause))
        return Passing(
            NETWORK,
            "%s cannot be reached (%s): check the network, DNS and the address." % (shown(url), cause),
        )

    @contextlib.contextmanager
    def within(seconds, failure):
        """End what takes longer, whatever it waits for: a time-out of sockets begins anew with every byte."""

        def ring(_number, _frame):
            raise failure

        former = signal.signal(signal.SIGALRM, ring)
        signal.alarm(seconds)
        try:
            yield
        finally:
            signal.alarm(0)  # an alarm would outlast even our becoming droplan
            signal.signal(signal.SIGALRM, former)

    def fetch_once(url, sha256, target):
        late = "%s had not come after %d s: check the network, or try later." % (shown(url), LONGEST)
        with within(LONGEST, Passing(NETWORK, late)):
            fetch_in_time(url, sha256, target)

    def fetch_in_time(url, sha256, target):
        part = target + PART
        try:
            digest, size = hashlib.sha256(), 0
            with contextlib.closing(open_url(url)) as response, create(part, 0o644) as output:
                for block in blocks(url, response):
                    size += len(block)
                    if size > LARGEST:
                        raise Failure(
                            CORRUPT,
                            "%s sends more than %d MB, and nothing that is wanted here is so large: check the address."
                            % (shown(url), LARGEST >> 20),
                        )
                    output.write(block)
                    digest.update(block)
                output.flush()
                os.fsync(output.fileno())
                length = response.headers.get("Content-Length") or ""
            if re.match("[0-9]{1,19}$", length) and size != int(length):
                raise Passing(
                    CORRUPT,
                    "%s was cut short, %d of %s bytes came: run this again." % (shown(url), size, length),
                )
            if digest.hexdigest() != sha256.lower():
                raise Failure(
                    CORRUPT,
                    "%s has the SHA-256 %s, not %s: it was removed and not run; check which version you want."
                    % (shown(url), digest.hexdigest(), sha256.lower()),
                )
            os.rename(part, target)
            sync_directory(os.path.dirname(target))
        finally:
            remove(part)

    def obtain(url, sha256, target):
        """Put a download in place, whole and checked, or leave what is there; nothing to do if it is there already.

        Raises:
            Failure: it cannot be had, several times over if it is of a kind that passes.
        """
        if is_in_place(target, sha256):
            say("%s is already here" % shown(url))
            return
        for wait in RETRY_WAITS + (None,):
            say("fetching %s" % shown(url))
            try:
                return fetch_once(url, sha256, target)
            except Passing as failure:
                if wait is None:
                    raise
                say("%s Trying again in %d s." % (failure, wait))
                time.sleep(wait)

    # A Python for droplan

    def run(command):
        """Run a command that gets neither our input (it may be this script) nor the token.

        Returns:
            Its exit code and what it printed, errors included.
        """
        environment = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive", NEEDRESTART_SUSPEND="1")
        for name in TOKENS:
            environment.pop(name, None)
        with open(os.devnull) as nothing:
            process = subprocess.Popen(
                command, stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
            )
            output = process.communicate()[0].decode("ascii", "replace")
        return process.returncode, output

    def which(name):
        for directory in PATH.split(":"):
            path = os.path.join(directory, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    def find_python():
        """Return the first Python that can run droplan and that only root can replace: cron will run it as root."""
        names = ["python3"] + ["python3.%d" % minor for minor in range(NEWEST_MINOR, OLDEST_MINOR - 1, -1)]
        candidates = [sys.executable] + [which(name) for name in names]
        for path in candidates + ["/usr/libexec/platform-python", PRIVATE + "/bin/python3"]:
            if not path or not os.path.isfile(path):
                continue
            culprit = replaceable(path)
            if culprit:
                say("passing over %s: others than root can change %s" % (path, culprit))
            elif can_run_droplan(path):
                return path
        return None

    def can_run_droplan(python):
        try:
            return run([python, "-I", "-S", "-c", PROBE])[0] == 0
        except OSError:  # such as the wrong architecture
            return False

    def install_packaged_python():
        """Install the newest suitable Python that the distribution offers; leave it to the caller to find it."""
        for tool, offers, options in (
            ("dnf", offered_by_dnf, ["-y"]),
            ("yum", offered_by_dnf, ["-y"]),
            ("apt-get", offered_by_apt, APT_OPTIONS + ["-y", "--no-remove", "--no-install-recommends"]),
        ):
            command = which(tool)
            if not command:
                continue
            minors = [int(minor) for minor in offers(command)]
            minors = [minor for minor in minors if OLDEST_MINOR <= minor <= NEWEST_MINOR]
            if not minors:
                say("%s offers no Python from 3.%d to 3.%d" % (tool, OLDEST_MINOR, NEWEST_MINOR))
                continue
            package = "python3.%d" % max(minors)
            say("installing %s with %s" % (package, tool))
            code, output = run([command, "install"] + options + [package])
            if code != 0:
                say("%s install %s failed: %s" % (tool, package, " ".join(output.split()[-40:])))
            return

    def offered_by_dnf(command):
        """List the minor versions of the packages named python3.N. (`repoquery` is an extra package with yum.)"""
        return re.findall(r"^python3\.(\d+)\.\w+\s", run([command, "-q", "-y", "list", "python3.*"])[1], re.M)

    def offered_by_apt(command):
        """List the same, after an update. (apt's own waiting does not cover the lock of its lists.)"""
        for wait in APT_WAITS + (None,):
            code, output = run([command] + APT_OPTIONS + ["update"])
            if code == 0 or "lock" not in output or wait is None:
                break  # after any other failure the lists that are here may still do
            say("apt's package lists are locked; trying again in %d s" % wait)
            time.sleep(wait)
        cache = os.path.join(os.path.dirname(command), "apt-cache")
        found = run([cache, "search", "--names-only", r"^python3\.[0-9]+$"])[1]
        return re.findall(r"^python3\.(\d+) ", found, re.M)

    def install_private_python(options):
        """Unpack a CPython to PRIVATE.

        It gets its place by a rename, once it has been seen to work and is on disk.

        Args:
            options: as from `parse`; without the Python options, the build for this machine's architecture is taken.
        """
        machine = os.uname()[4]
        url = options.get("--python-url", STANDALONE.replace("MACHINE", machine))
        sha256 = options.get("--python-sha256", STANDALONE_SHA256.get(machine))
        if sha256 is None:
            raise Failure(
                NO_PYTHON,
                "no Python >= 3.%d is known for %s: install one, or name one with --python-url."
                % (OLDEST_MINOR, machine),
            )
        try:
            obtain(url, sha256, ARCHIVE)
            say("unpacking it to %s" % PRIVATE)
            unpack(ARCHIVE, UNPACKED)
            if not can_run_droplan(UNPACKED + "/python/bin/python3"):
                raise Failure(
                    NO_PYTHON,
                    "the Python of %s does not run here, or is older than 3.%d: install one, or name another with "
                    "--python-url." % (shown(url), OLDEST_MINOR),
                )
            run(["sync"])  # one for all: an fsync for each of thousands of files takes minutes on a slow disk
            if os.path.lexists(PRIVATE):
                os.rename(PRIVATE, REPLACED)
            os.rename(UNPACKED + "/python", PRIVATE)
            sync_directory(DIRECTORY)
        finally:
            remove_unfinished()

    def unpack(archive, directory):
        """Unpack an archive's files, directories and symbolic links into a new directory; they belong to root.

        Done by hand because tarfile's own filters came with 3.12, and a Python that is too old is why we are here.

        Raises:
            Failure: the archive is damaged, or a member or the target of a link is outside the directory.
        """
        os.mkdir(directory, 0o755)
        try:
            with contextlib.closing(tarfile.open(archive, "r:gz")) as tar:
                for member in tar:
                    unpack_member(tar, member, directory)
                while tar.fileobj.read(1 << 16):  # to the end, where gzip keeps its check sum
                    pass
        except (tarfile.TarError, zlib.error, EOFError, KeyError, EnvironmentError) as error:
            if getattr(error, "errno", None):  # the disk's, not the archive's
                raise
            raise Failure(BAD_ARCHIVE, "the archive of --python-url is damaged (%s): name another." % error)

    def unpack_member(tar, member, directory):
        path = os.path.normpath(os.path.join(directory, member.name))
        inside = directory + "/"
        pointed_at = os.path.normpath(os.path.join(os.path.dirname(path), member.linkname))
        if (
            not (path + "/").startswith(inside)
            # A link that was unpacked before could lead outside: nothing is ever written through one.
            or os.path.realpath(os.path.dirname(path)) != os.path.dirname(path)
            or (member.issym() and not (pointed_at + "/").startswith(inside))
            or not (member.isreg() or member.isdir() or member.issym() or member.islnk())
        ):
            raise Failure(
                BAD_ARCHIVE,
                "the archive of --python-url would write outside its directory (%s): do not use it." % member.name,
            )
        if member.isdir():
            if not os.path.isdir(path):
                os.makedirs(path, 0o755)
            return
        if not os.path.isdir(os.path.dirname(path)):
            os.makedirs(os.path.dirname(path), 0o755)
        if member.issym():
            os.symlink(member.linkname, path)
            return
        # The contents of a hard link are those of the member it names.
        with contextlib.closing(tar.extractfile(member)) as source:
            with create(path, 0o755 if member.mode & stat.S_IXUSR else 0o644) as output:
                shutil.copyfileobj(source, output)

    # The way through

    def clean_environment():
        """Leave nothing in the environment that could make Python or the zipapp run something else."""
        for name in list(os.environ):
            if name.startswith(("SHIV_", "PYTHON")):
                del os.environ[name]
        os.environ["PATH"] = PATH

    def become(python, arguments):
        """Replace this process by `droplan install`, which does not get the rest of a piped script as its input."""
        say("running droplan install with %s" % python)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execve(python, [python, "-I", "-S", PYZ, "install"] + arguments, os.environ)

    def bootstrap(arguments):
        options, for_install = parse(arguments)
        if os.geteuid() != 0:
            raise Failure(NOT_ROOT, "this must run as root: use sudo.")
        os.umask(0o022)
        clean_environment()
        make_safe_directory(DIRECTORY)
        lock()
        remove_unfinished()
        obtain(options["--url"], options["--sha256"], PYZ)
        python = find_python()
        if not python:
            install_packaged_python()
            python = find_python()
        if not python:
            install_private_python(options)
            python = find_python()
        if not python:
            raise Failure(NO_PYTHON, "there is no Python >= 3.%d, and none could be installed: install one." % OLDEST_MINOR)
        become(python, for_install)

    def main(arguments):
        """Run the bootstrap; return an exit code of USAGE, or not at all: then this process is droplan."""
        if arguments[:1] in (["--help"], ["-h"]):
            sys.stdout.write(USAGE)
            return 0
        try:
            return bootstrap(arguments)
        except Failure as failure:
            say(failure)
            return failure.code
        except EnvironmentError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                say("the disk is full: make room for %s and run this again." % DIRECTORY)
                return DISK_FULL
            say("%s: see to it and run this again." % error)
            return SYSTEM

    if __name__ == "__main__":
        sys.exit(main(sys.argv[1:]))
except KeyboardInterrupt:
    (sys.exit(INTERRUPTED))
