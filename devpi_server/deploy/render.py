"""From the templates to texts, with words quoted as each kind of file wants them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from textwrap import indent
from urllib.parse import urlsplit

from devpi_server.deploy.plan import Plan
from devpi_server.errors import Refused

_SENT = "/+sent/"  # where nginx has what is in the data directory, for itself only
_NUMBER = "@number@"  # has no meaning to any of these files


class _Marked(Template):
    delimiter = "@@"  # a dollar is common in these files


def template(name: str, **values: object) -> str:
    """A template with its places filled."""
    folder = resources.files("devpi_server.deploy") / "templates"
    return _Marked((folder / name).read_text("utf-8")).substitute(values)


# Words


def for_supervisor(words: Sequence[str]) -> str:
    """A command; ``%(…)s`` of our own must be put in afterwards.

    A path is quoted, whether it has to be or not: ``devpi-ctl relocate`` may put another there.
    """
    for word in words:
        if re.search(r"\s[;#]", word):
            raise Refused(f"supervisor would take a part of this for a comment: {word}")
    return " ".join(_supervisor_word(word).replace("%", "%%") for word in words)


def _supervisor_word(word: str) -> str:
    quoted = shlex.quote(word)
    return f"'{word}'" if "/" in word and quoted == word else quoted


def for_systemd(words: Sequence[str]) -> str:
    return " ".join(_systemd_word(word) for word in words)


def _systemd_word(word: str) -> str:
    word = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[\w.:=,@%$+-]+", word):  # and no path, as for supervisor
        return word
    return '"{}"'.format(word.replace("\\", "\\\\").replace('"', '\\"'))


def for_cron(words: Sequence[str]) -> str:
    return shlex.join(words).replace("%", "\\%")


def for_uwsgi(value: str) -> str:
    """A value in its ini file."""
    if re.search(r"\$\(|@\(|[\r\n]", value):
        raise Refused(f"this cannot be written for uWSGI: {value}")
    return value.replace("%", "%%")


# What several files have in common


def supervisor_program(command: str, plan: Plan, *, log: str, autostart: bool) -> str:
    """The section of the server.

    :param command: without what differs between processes.
    """
    if len(plan.ports) == 1:
        own, numbers = for_supervisor([plan.own(plan.ports[0])]), ""
    else:
        # The name stands for a number of supervisor's, which is not to be quoted.
        own = for_supervisor([plan.own(_NUMBER)]).replace(_NUMBER, "%(process_num)d")
        numbers = (
            "; a process a port, on one data directory\nprocess_name = %(process_num)d\n"
            f"numprocs = {len(plan.ports)}\nnumprocs_start = {plan.ports[0]}\n"
        )
        log = log.replace(".log", "-%(process_num)d.log")
    return template(
        "program.conf",
        command=f"{command} {own}",
        numbers=numbers,
        log=log,
        autostart=str(autostart).lower(),
    )


def nginx(plan: Plan, datadir: Path | None, *, caching: bool = False) -> str:
    """A server for nginx; what it passes on is what ``web.outside`` reads.

    :param datadir: of the server; None: nginx cannot read there.
    """
    port = plan.settings.port
    url = plan.outside_url
    path = urlsplit(url).path
    headers = template(
        "nginx-headers.conf", outside_url=_nginx_word(url) if url else "$scheme://$http_host"
    )
    zone = more = published = locations = ""
    if caching:
        zone = "\n" + template(
            "cache-zone.conf", port=port, cache_folder="/var/cache/nginx-devpi", cache_size="10g"
        )
        more = template("cache.conf", port=port)
    if datadir is not None and plan.publishes:
        folder = _nginx_path(datadir)
        values = {"port": port, "published": f"{folder}/published"}
        published = "\n" + template("nginx-published.conf", **values)
        more += f"    proxy_set_header X-Devpi-Accel {_SENT};\n"
        locations = template(
            "nginx-locations.conf",
            prefix=_nginx_pattern(path),
            datadir=folder,
            sent=_SENT,
            headers=indent(headers, " " * 8).rstrip(),
            every_answer=indent(template("nginx-answer.conf"), " " * 8),
            **values,
        )
    locations += template(
        "nginx-asking.conf",
        port=port,
        prefix=_nginx_word(path),
        headers=indent(headers, " " * 8).rstrip(),
    )
    return template(
        "nginx-devpi.conf",
        port=port,
        proxy=plan.settings.trusted_proxy or plan.trusted or plan.proxy,
        servers="\n".join(_nginx_servers(plan)),
        server_name=plan.server_name,
        headers=indent(headers, " " * 4).rstrip(),
        location=_nginx_word(f"{path}/"),
        cache_zone=zone,
        more=more,
        published=published,
        locations=locations,
    )


def _nginx_servers(plan: Plan) -> Iterator[str]:
    if plan.settings.unix_socket is not None:
        yield "    # Where nginx is another user, --unix-socket-perms of the server let it in."
    several = " max_fails=0" if len(plan.listeners) > 1 else ""
    if several:
        yield "    # While one is restarted, the others answer; it is asked again when it is back."
    for listener in plan.listeners:
        word = _nginx_word(listener).strip('"')
        yield f"    server {word if plan.settings.unix_socket is None else _quoted(word)}{several};"


def _nginx_word(text: str) -> str:
    if re.search(r"[\"'\\$]|[^\S ]", text):
        raise Refused(f"this cannot be written for nginx: {text}")
    return _quoted(text) if re.search(r"[ ;{}]", text) else text


def _quoted(text: str) -> str:
    return f'"{text}"'


def _nginx_path(path: Path) -> str:
    """A path between quotation marks."""
    return _nginx_word(str(path)).strip('"')


def _nginx_pattern(path: str) -> str:
    """A path between quotation marks, in a regular expression."""
    return re.sub(r"[.+*?(){}\[\]|^]", r"\\\g<0>", _nginx_word(path).strip('"'))
