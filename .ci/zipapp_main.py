"""The beginning of ``pypi-server-standalone.pyz``: unpack what this Python needs, and run it."""

import os
import platform
import sys
import tempfile
import zipfile

DIGEST = "@DIGEST@"
MACHINE = "@MACHINE@"
TAGS = "@TAGS@".split()
TAG = "cp%d%d" % sys.version_info[:2]
COMMON = "any"


def refuse(message):
    sys.exit("pypi-server: error: " + message)


def unpack(archive, folder):
    """Unpack our part of the archive."""
    for info in archive.infolist():
        part, _, name = info.filename.partition("/")
        if part in (COMMON, TAG):
            info.filename = name
            archive.extract(info, folder)


def places():
    """Where it may be unpacked, the best place first."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    yield os.path.join(cache, "pypi-server-standalone")
    # Nobody else may have made it: what lies there is run.
    yield os.path.join(tempfile.gettempdir(), "pypi-server-standalone-%d" % os.geteuid())


def unpacked(archive):
    """The folder with what this Python needs, which is made at the first start."""
    fault = None
    for place in places():
        folder = os.path.join(place, "-".join((DIGEST, TAG)))
        try:
            os.makedirs(place, mode=0o700, exist_ok=True)
            found = os.lstat(place)
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                continue
            if not os.path.isdir(folder):
                new = tempfile.mkdtemp(prefix="new-", dir=place)
                unpack(archive, new)
                try:
                    os.rename(new, folder)
                except OSError:  # another start was quicker
                    if not os.path.isdir(folder):
                        raise
        except OSError as error:
            fault = error
            continue
        return folder
    return refuse("cannot be unpacked: %s; set XDG_CACHE_HOME" % fault)


def machine():
    """The kind of this machine."""
    return "-".join((sys.platform, os.uname()[4], platform.libc_ver()[0] or "other"))


def main():
    if TAG not in TAGS or machine() != MACHINE:
        refuse("this file is for %s and %s" % (MACHINE, ", ".join(TAGS)))
    with zipfile.ZipFile(os.path.dirname(os.path.abspath(__file__))) as archive:
        folder = unpacked(archive)
    sys.path[0] = folder
    from devpi_server.cli.pypiserver import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
