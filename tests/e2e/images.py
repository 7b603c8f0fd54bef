"""Dockerfiles, read and carried out without Docker: in copies of a fresh Debian, by chroot.

What is not understood is an error, so the test cannot drift from the file.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_BASE = re.compile(r"debian:(\w+)-slim")
_PATIENCE = 600.0
_ROOTS_OWN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# As Docker's images of Debian have it: nothing is synced, no documents are unpacked.
_DPKG = "force-unsafe-io\npath-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\n"


@dataclass(frozen=True)
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: tuple[tuple[str, str], ...]  # word and argument


@dataclass(frozen=True)
class Image:
    """What a Dockerfile makes: a root, and how to run it."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": _ROOTS_OWN_PATH})
    user: str = "0"
    workdir: str = "/"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    health: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    stopsignal: str = "SIGTERM"


def stages(dockerfile: Path) -> list[Stage]:
    """The stages of a Dockerfile."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        word, _, argument = line.strip().partition(" ")
        if word == "FROM":
            base, _, name = argument.partition(" AS ")
            found.append(Stage(base, name, ()))
        elif word:
            found[-1] = replace(found[-1], steps=(*found[-1].steps, (word, argument.strip())))
    return found


def suite(dockerfile: Path) -> str:
    """The release of Debian that all of its stages begin with."""
    (found,) = {stage.base for stage in stages(dockerfile)}
    match = _BASE.fullmatch(found)
    assert match, f"this test knows no image {found}"
    return match[1]


def debian(suite: str, folder: Path) -> Path:
    """A root with a fresh Debian, as small as it gets."""
    mirror = _said("apt-get", "indextargets", "--format", "$(REPO_URI)").split("\n", 1)[0]
    _said("debootstrap", "--variant=minbase", suite, str(folder), mirror)
    for path in Path("/etc/apt/apt.conf.d").iterdir():  # how this machine gets at its mirror
        shutil.copy(path, folder / "etc/apt/apt.conf.d")
    (folder / "etc/apt/apt.conf.d/docker-clean").unlink(missing_ok=True)
    (folder / "etc/dpkg/dpkg.cfg.d/docker").write_text(_DPKG)
    return folder


class Builder:
    """Carries out Dockerfiles.

    :param folder: for the roots.
    :param base: the root of the image that they begin with.
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self._folder = folder
        self._base = base
        self._packages = folder / "packages"
        self._packages.mkdir()

    def build(self, dockerfile: Path, context: Path) -> Image:
        """The image of the last stage."""
        made: dict[str, Image] = {}
        for number, stage in enumerate(stages(dockerfile)):
            root = self._folder / f"{dockerfile.parent.name}-{number}"
            _said("cp", "--archive", str(self._base), str(root))
            image = Image(root)
            for word, argument in stage.steps:
                image = self._step(image, word, argument, dockerfile, context, made)
            made[stage.name] = image
        return image

    def _step(
        self,
        image: Image,
        word: str,
        argument: str,
        dockerfile: Path,
        context: Path,
        made: Mapping[str, Image],
    ) -> Image:
        if word == "RUN":
            self._run(image, argument)
        elif word == "COPY":
            *options, source, target = shlex.split(argument)
            destination = image.root / target.lstrip("/")
            if options:
                (stage,) = [option.removeprefix("--from=") for option in options]
                shutil.copytree(made[stage].root / source.lstrip("/"), destination, symlinks=True)
            else:
                _copy(context, source, destination, _ignored(dockerfile))
        elif word == "ENV":
            pairs = dict(pair.split("=", 1) for pair in shlex.split(argument))
            return replace(image, environment={**image.environment, **pairs})
        elif word == "USER":
            return replace(image, user=argument)
        elif word == "WORKDIR":
            return replace(image, workdir=argument)
        elif word == "VOLUME":
            return replace(image, volumes=(*image.volumes, argument))
        elif word == "EXPOSE":
            return replace(image, ports=tuple(int(port) for port in argument.split()))
        elif word == "STOPSIGNAL":
            return replace(image, stopsignal=argument)
        elif word == "HEALTHCHECK":
            return replace(image, health=tuple(json.loads(argument.partition(" CMD ")[2])))
        elif word == "ENTRYPOINT":
            return replace(image, entrypoint=tuple(json.loads(argument)))
        elif word == "CMD":
            return replace(image, command=tuple(json.loads(argument)))
        else:
            raise AssertionError(f"this test does not understand {word}")
        return image

    def _run(self, image: Image, script: str) -> None:
        root = image.root
        outside = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
        (root / "outside").mkdir()
        for path in (_CERTIFICATES, "/etc/pip.conf"):
            if Path(path).exists():
                shutil.copy(path, root / "outside")
        environment = {
            **outside,
            "PIP_CERT": f"/outside/{Path(_CERTIFICATES).name}",
            "PIP_CONFIG_FILE": "/outside/pip.conf",
            "DEBIAN_FRONTEND": "noninteractive",
            **image.environment,
        }
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        mounts = [
            f"mount --bind {self._packages} {root}/var/cache/apt/archives",
            f"mount -t proc proc {root}/proc",
        ]
        _said(*_inside(root, mounts, environment, ["/bin/sh", "-c", script]))
        shutil.rmtree(root / "outside")


def running(
    image: Image,
    words: Sequence[str] | None = None,
    *,
    volumes: Mapping[str, Path] | None = None,
    temporary: Sequence[str] = (),
    **environment: str,
) -> list[str]:
    """The command that runs an image on a read-only root.

    :param words: in place of the image's own.
    :param volumes: folders, by the place where they lie, which may end with ``:ro``.
    :param temporary: folders that may be written to.
    """
    root = image.root
    mounts = [
        f"mount --bind {root} {root}",
        f"mount -o remount,bind,ro {root}",
        f"mount -t proc proc {root}/proc",
    ]
    for where, folder in (volumes or {}).items():
        inside, _, mode = where.partition(":")
        (root / inside.lstrip("/")).mkdir(exist_ok=True)
        mounts.append(f"mount --bind {shlex.quote(str(folder))} {root}{inside}")
        mounts += [f"mount -o remount,bind,{mode} {root}{inside}"] if mode else []
    mounts += [f"mount -t tmpfs tmpfs {root}{place}" for place in temporary]
    command = [*image.entrypoint, *image.command] if words is None else words
    return _inside(root, mounts, {**image.environment, **environment}, command, image)


def _inside(
    root: Path,
    mounts: Sequence[str],
    environment: Mapping[str, str],
    command: Sequence[str],
    image: Image | None = None,
) -> list[str]:
    """The command, with a view of its own of the file systems."""
    user = ["--userspec", f"{image.user}:{image.user}", "--groups="] if image else []
    workdir = image.workdir if image else "/"
    words = [
        *("chroot", *user, str(root), "/usr/bin/env", "-i", f"--chdir={workdir}"),
        *(f"{name}={text}" for name, text in environment.items()),
        *command,
    ]
    script = " && ".join([*mounts, f"exec {shlex.join(words)}"])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]


def _copy(context: Path, source: str, target: Path, ignored: Sequence[str]) -> None:
    found = context / source
    if found.is_file():
        shutil.copy(found, target)
        return
    for path in _sent(found, ignored):
        place = target / path.relative_to(found)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def _sent(context: Path, ignored: Sequence[str]) -> Iterator[Path]:
    """The files of a context; of the patterns, the last one that matches counts."""
    for folder, folders, files in os.walk(context):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            parts = path.relative_to(context).parts
            names = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
            is_ignored = False
            for pattern in ignored:
                bare = pattern.removeprefix("!").replace("**/", "*")
                if any(fnmatch.fnmatch(each, bare) for each in names):
                    is_ignored = not pattern.startswith("!")
            if not is_ignored:
                yield path


def _ignored(dockerfile: Path) -> list[str]:
    path = dockerfile.with_name(f"{dockerfile.name}.dockerignore")
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line and not line.startswith("#")]


def _said(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
