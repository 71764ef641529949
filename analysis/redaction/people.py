"""Who and where: users, hosts, and what lies below home folders."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from analysis.redaction.names import is_system_user
from analysis.redaction.spans import Span
from analysis.redaction.vocabulary import word_set
from tracer.runtime_args import base_name

_HOME = re.compile(
    r"(?P<folder>(?<![\w.])/(?:var/|export/|usr/)?(?:home|Users)/(?P<user>[^/\s:\"',;=|&<>()]+)|(?<![\w.])/root|"
    r"(?<![\w/.])~[\w-]*|\$(?:HOME|\{HOME\}))(?P<below>(?:/[^/\s:\"',;=|&<>()]+)*)"
)
_HOME_SIGNS = ("home/", "Users/", "/root", "~", "$")
_PART = re.compile(r"[^/]+")
# What the analysis looks for in arguments of conmon, and folders that runtimes make in homes.
_ENGINE = re.compile(r"podman|libpod|crio|containerd|docker|runc|crun|moby|buildkit|kube|cni")
_RUNTIME_PART = re.compile(
    r"[0-9a-f]{12,64}|\.local|\.config|\.cache|share|containers|storage|overlay(?:-\w+)*|overlay2|"
    r"vfs(?:-\w+)*|userdata|state|tmp|run|bin|lib|etc|default|system|k8s\.io|io\.\w[\w.]*|netns|"
    r"(?:ctl|attach|config\.json|pidfile|pid|exit|log|ctr\.log|oci-log|merged|diff|work|volumes|_data)"
)
_UID = re.compile(r"(?<![\w-])(?:user-|user@|user-runtime-dir@|/run/user/)(?P<uid>[1-9]\d*)(?!\d)")
_TITLE = re.compile(
    r"(?:sshd(?:-session)?|sftpd|vsftpd|login|dovecot/\w+): (?P<user>[\w.-]+)(?:@| \[|$)"
)
_USER_VARIABLE = re.compile(
    r"(?:(?:SUDO_|REMOTE_|DB_OS_)?USER|LOGNAME|USERNAME)=(?P<user>[\w.-]{2,64})"
)
_MAIL = re.compile(
    r"(?<![\w.+/-])(?P<mail>[\w.+-]{1,64}@(?:[A-Za-z0-9-]+\.)+(?P<top>[A-Za-z]{2,10}))(?![\w-]|\.\w)"
)
_NO_MAIL_TOPS = word_set(
    "service socket mount automount slice scope target timer path device swap js git jar so"
)
_LOGIN = re.compile(
    r"(?:(?P<user>[A-Za-z_][\w.-]*)@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*)(?P<path>:.*)?"
)
_LOGIN_PROGRAMS = word_set("ssh scp sftp rsync mosh ssh-copy-id sshfs autossh ssh-keyscan telnet")
_AS_USER = {
    "sudo": ("-u", "--user", "-U"),
    "su": ("-l", "--login", "-"),
    "runuser": ("-u", "--user", "-l", "-"),
    "ssh": ("-l",),
    "rlogin": ("-l",),
    "doas": ("-u",),
    "machinectl": ("--uid",),
}
_HOST_OPTIONS = frozenset(
    ("--hostname-override", "--node-name", "--hostname", "--node-ip", "--advertise-hostname")
)
_WELL_KNOWN_HOSTS = word_set(
    "localhost github.com gitlab.com bitbucket.org docker.io registry-1.docker.io quay.io gcr.io "
    "ghcr.io registry.k8s.io k8s.gcr.io mcr.microsoft.com"
)
_URL_HOST = re.compile(
    r"[a-z][a-z0-9+.-]{0,30}://(?:[^\s/?#@]*@)?(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9][\w.-]*)"
)
_IPV4 = re.compile(r"(?<![\w.])(?!127\.|0\.0\.0\.0)(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")


def find_users(text: str) -> Iterator[Span]:
    """Names and numbers of users in a text."""
    if "home/" in text or "Users/" in text:
        for match in _HOME.finditer(text):
            if match["user"] and not is_system_user(match["user"]):
                yield Span(*match.span("user"), "user")
    if ": " in text:
        yield from _names(_TITLE, text)
    if "USER" in text or "LOGNAME" in text:
        yield from _names(_USER_VARIABLE, text)
    if "user" in text:
        for match in _UID.finditer(text):
            if int(match["uid"]) >= 1000:
                yield Span(*match.span("uid"), "user", f"uid {match['uid']}")
    if "@" in text:
        for match in _MAIL.finditer(text):
            known = match["mail"].startswith("git@")
            if match["top"].lower() not in _NO_MAIL_TOPS and not known:
                yield Span(*match.span("mail"), "user")


def _names(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        if not is_system_user(match["user"]):
            yield Span(*match.span("user"), "user")


def has_home(text: str) -> bool:
    """Whether a path below a home folder may be in a text."""
    return "/" in text and any(map(text.__contains__, _HOME_SIGNS))


def find_home_paths(text: str, keep: Collection[str]) -> Iterator[Span]:
    """Folders and files below homes, each part by itself: the same part is the same everywhere.

    Args:
        keep: parts that stay: programs that are no user's own.
    """
    if not has_home(text):
        return
    for match in _HOME.finditer(text):
        for part in _PART.finditer(match["below"]):
            word = part[0]
            if word in keep or _RUNTIME_PART.fullmatch(word) or _ENGINE.search(word):
                continue
            begin = match.start("below") + part.start()
            yield Span(begin, begin + len(word), "path")


def find_in_command(args: Sequence[str]) -> Iterator[tuple[int, Span]]:
    """Users and hosts that a command line names, by argument."""
    program, acting = "", None
    for i, arg in enumerate(args):
        before = args[i - 1] if i else ""
        name = base_name(before)
        if name in _LOGIN_PROGRAMS:
            program = name
        if name in _AS_USER:
            acting = _AS_USER[name]
        if i and program:
            yield from _logins(i, arg, program, before)
        plain = i > 0 and not arg.startswith("-") and not is_system_user(arg)
        if plain and (name in ("su", "runuser") or (acting and before in acting)):
            yield i, Span(0, len(arg), "user")
        option, equals, value = arg.partition("=")
        if option in _HOST_OPTIONS and equals and value:
            yield i, Span(len(option) + 1, len(arg), "host")
        elif before in _HOST_OPTIONS and not arg.startswith("-") and arg:
            yield i, Span(0, len(arg), "host")


def tells(arg: str) -> bool:
    """Whether an argument may name a host, or say that one behind it names somebody; where none
    does, `find_in_command` finds nothing."""
    name = base_name(arg)
    acts = name in _LOGIN_PROGRAMS or name in _AS_USER or name in ("su", "runuser")
    return acts or arg.partition("=")[0] in _HOST_OPTIONS


def _logins(i: int, arg: str, program: str, before: str) -> Iterator[tuple[int, Span]]:
    match = _LOGIN.fullmatch(arg)
    if match is None or arg.startswith(("-", "/", ".")):
        return
    remote = match["user"] is not None or match["path"] is not None
    if not remote and (program not in ("ssh", "sftp", "mosh", "telnet") or before.startswith("-")):
        return
    if not remote and base_name(before) != program:
        return  # a word of the command that is run there
    if match["user"] and not is_system_user(match["user"]):
        yield i, Span(*match.span("user"), "user")
    host = match["host"]
    if host.lower() not in _WELL_KNOWN_HOSTS and len(host) > 2:
        yield i, Span(*match.span("host"), "host")


def find_hosts(text: str) -> Iterator[Span]:
    """Hosts in URLs, and addresses: what `strict` hides besides."""
    for match in _URL_HOST.finditer(text) if "://" in text else ():
        if match["host"].lower() not in _WELL_KNOWN_HOSTS:
            yield Span(*match.span("host"), "host")
    for match in _IPV4.finditer(text):
        yield Span(*match.span(), "host")
