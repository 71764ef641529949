"""Secrets in a command line: options with their values, what programs are known to take."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from analysis.redaction.names import (
    is_harmless_value,
    is_path,
    is_secret_name,
    is_weak_name,
    names_a_secret,
)
from analysis.redaction.shapes import is_password, looks_made_up, meaning
from analysis.redaction.spans import Span, merged
from analysis.redaction.texts import find_secrets
from analysis.redaction.vocabulary import word_set
from tracer.runtime_args import base_name

_NAMED = re.compile(
    r"(?P<dashes>--?|/)?(?P<name>[A-Za-z_][\w.:/-]{0,100}?)(?P<sign>=|:=)(?P<value>.+)", re.DOTALL
)
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_BARE = re.compile(r"[A-Za-z_/.:-]+")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z-]+:")
_USER_PASSWORD = re.compile(r"[^\s:/@]{0,100}:(?P<value>[^\s].*)", re.DOTALL)
_PEM_BEGIN, _PEM_END = re.compile(r"-----BEGIN"), re.compile(r"-----END|KEY-----")
_COMMAND_OPTION = re.compile(r"-[a-z]*c|--command|-e|--eval|/c", re.IGNORECASE)
_SPACE = re.compile(r"\s")
_NESTED_DEPTH = 3
_NESTED_WORDS = 400
# Words of a shell, of which quotes are parts, and operators. `shlex` gives the same, and looks at
# each character by itself.
_WORD = re.compile(
    r"""(?:[^ \t\r\n|&;()<>"'\\]+|(?P<quoted>\\.|"(?:[^"\\]|\\.)*"|'[^']*'))+|"""
    r"""[|&;()<>]+|(?P<stray>["'\\])""",
    re.DOTALL,
)
_QUOTED = re.compile(r"""\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'""", re.DOTALL)
_OPERATORS = frozenset(("|", "||", "&", "&&", ";", "(", ")", "<", ">", ">>", "\n", ";;"))


# Programs whose short options have secrets as values: glued to the option, or as the next
# argument too. From their man pages.
_GLUED = {
    "-p": word_set(
        "mysql mysqldump mysqladmin mysqlimport mysqlcheck mysqlshow mysqlslap mysqlbinlog mycli "
        "mariadb mariadb-dump mariadb-admin mariadb-check mariadb-import mysqlsh sshpass mongo "
        "mongosh mongodump mongorestore mongoexport mongoimport 7z 7za 7zr rar unrar cqlsh"
    ),
    "-P": word_set("zip unzip"),
    "-a": word_set("redis-cli valkey-cli"),
    "-hp": word_set("rar"),
}
_SEPARATE = {
    "-p": word_set(
        "sshpass mongo mongosh mongodump mongorestore mongoexport mongoimport useradd usermod "
        "cqlsh rdesktop psexec twine certutil influx couchbase-cli ncftp rabbitmqadmin kadmin"
    ),
    "-P": word_set(
        "zip unzip zipcloak ipmitool sqlcmd bcp isql tsql mssql-cli mosquitto_pub mosquitto_sub"
    ),
    "-a": word_set("redis-cli valkey-cli"),
    "-w": word_set(
        "ldapsearch ldapadd ldapmodify ldapdelete ldappasswd ldapwhoami ldapcompare kadmin"
    ),
    "-s": word_set("ldappasswd"),
    "-A": word_set("snmpget snmpwalk snmpset snmpbulkwalk snmptrap"),
    "-X": word_set("snmpget snmpwalk snmpset snmpbulkwalk snmptrap"),
    "-c": word_set("snmpget snmpwalk snmpset snmpbulkwalk snmptrap"),
    "-pw": word_set("plink pscp psftp putty"),
    "-k": word_set("openssl"),
    "-K": word_set("openssl"),
    "-b": word_set("curl"),
    "-W": word_set("mosquitto_passwd"),
}
# `login -p` of programs that have other uses for -p.
_LOGIN = word_set(
    "docker podman nerdctl buildah skopeo helm oc az cf ibmcloud heroku npm crane oras ctr"
)
# Values of the form user:password (or with another sign between them).
_USER_OPTIONS = {
    "-u": (word_set("curl"), ":"),
    "--user": (word_set("curl"), ":"),
    "-U": (word_set("curl smbclient smbget rpcclient net nmblookup"), ":%"),
    "--proxy-user": (word_set("curl"), ":"),
    "--user-pass": (word_set("curl"), ":"),
    "-a": (word_set("http https ab xh"), ":"),
    "--auth": (word_set("http https xh"), ":"),
    "-A": (word_set("ab"), ":"),
}
_LFTP = word_set("lftp")
# Programs that take a secret as an operand: which one behind the words given, from 0.
_OPERANDS: tuple[tuple[frozenset[str], tuple[str, ...], int], ...] = (
    (word_set("vault bao"), ("login",), 0),
    (word_set("rabbitmqctl"), ("add_user",), 1),
    (word_set("rabbitmqctl"), ("change_password",), 1),
    (word_set("rabbitmqctl"), ("authenticate_user",), 1),
    (word_set("mc"), ("alias", "set"), 2),
    (word_set("mc"), ("alias", "set"), 3),
    (word_set("rclone"), ("obscure",), 0),
    (word_set("nmcli"), ("password",), 0),
    (word_set("htpasswd"), (), -1),
    (word_set("mosquitto_passwd"), (), -1),
    (word_set("redis-cli valkey-cli"), ("AUTH",), -1),
    (word_set("redis-cli valkey-cli"), ("auth",), -1),
    (word_set("tailscale"), ("--authkey",), 0),
)
_KNOWN = frozenset[str]().union(
    _LOGIN,
    _LFTP,
    ("openssl", "xfreerdp", "wfreerdp", "sqlplus"),
    *_GLUED.values(),
    *_SEPARATE.values(),
    *(programs for programs, _ in _USER_OPTIONS.values()),
    *(programs for programs, _, _ in _OPERANDS),
)
_OPENSSL_PASS = re.compile(r"pass:(?P<value>.+)", re.DOTALL)
_SLASH_OPTION = re.compile(r"/(?:p|pth|gp):(?P<value>.+)", re.DOTALL)
_SQLPLUS = re.compile(r"[\w$#.-]+/(?P<value>[^@\s]+)(?:@.*)?", re.DOTALL)


def find_in_arguments(
    args: Sequence[str],
    *,
    cut: bool = False,
    depth: int = _NESTED_DEPTH,
    find: Callable[[str], Sequence[Span]] = find_secrets,
) -> list[list[Span]]:
    """Secrets in the arguments of a program, by argument.

    Args:
        cut: the last argument goes on, or others followed: they were not recorded.
        depth: how deep commands within arguments are looked into.
        find: gives what `find_secrets` finds in an argument that is whole, for those who know.
    """
    finder = _Finder(args, cut, depth, find)
    finder.run()
    return [merged(spans) for spans in finder.spans]


class _Finder:
    def __init__(
        self, args: Sequence[str], cut: bool, depth: int, find: Callable[[str], Sequence[Span]]
    ) -> None:
        self.args, self.cut, self.depth, self.find = args, cut, depth, find
        self.spans: list[list[Span]] = [[] for _ in args]
        self.programs: set[str] = set()

    def run(self) -> None:
        in_pem = ended = False
        for i, arg in enumerate(self.args):
            last = self.cut and i == len(self.args) - 1
            self.spans[i] += find_secrets(arg, cut=True) if last else self.find(arg)
            ended = ended or "-----END" in arg
            if in_pem or ("-----BEGIN" in arg and i + 1 < len(self.args) and _is_pem_word(arg)):
                self._whole(i, "private-key")
                in_pem = not arg.endswith("-----") or "BEGIN" in arg or not ended
            self._named(i)
            self._option(i)
            self._after_header(i)
            if self.programs:
                self._of_program(i)
            if i and self.depth and len(arg) > 7 and _SPACE.search(arg):
                self._nested(i, last)
            if (name := base_name(arg)) in _KNOWN:
                self.programs.add(name)
        self._operands()

    def _add(self, i: int, begin: int, end: int, kind: str = "credential") -> None:
        secret = meaning(self.args[i][begin:end])
        self.spans[i].append(Span(begin, end, kind, secret))

    def _whole(self, i: int, kind: str = "credential") -> None:
        if 0 <= i < len(self.args) and self.args[i]:
            self._add(i, 0, len(self.args[i]), kind)

    def _named(self, i: int) -> None:
        """--name=value and NAME=value: to the end of the argument, whatever is in it."""
        match = _NAMED.fullmatch(self.args[i]) if "=" in self.args[i] else None
        if match is None:
            return
        name, value = match["name"], match["value"]
        if match["dashes"] == "-" and name[:1] in "De" and len(name) > 1:
            name = name[1:]  # -Dname=value, -eNAME=value
        if not is_secret_name(name) or not self._is_secret(name, value):
            return
        if "=" in value and "," in value and not is_password(name):
            return  # `--secret id=npm,src=.npmrc`: pairs
        if i and _COMMAND_OPTION.fullmatch(self.args[i - 1]) and _SPACE.search(value):
            return  # sh -c "TOKEN=... command ...": see _nested
        self._add(i, match.start("value"), match.end("value"))

    def _is_secret(self, name: str, value: str) -> bool:
        if is_harmless_value(value):
            return False
        if is_path(value) and not is_password(name):
            return False
        return looks_made_up(value) if is_weak_name(name) else True

    def _option(self, i: int) -> None:
        """--name value."""
        arg = self.args[i]
        if i + 1 >= len(self.args):
            return
        value = self.args[i + 1]
        if _OPTION.fullmatch(arg):
            if len(arg) < 4 or not is_secret_name(arg) or _is_option(value):
                return
            if "=" in value and re.match(r"[a-z]+=", value) and not is_password(arg):
                return
            if self._is_secret(arg, value):
                self._whole(i + 1)
        elif _BARE.fullmatch(arg) and is_secret_name(arg) and i:
            # `aws configure set aws_secret_access_key ...`: a name of several words, and a value
            # that is none.
            made_up = looks_made_up(value) and len(value) >= 8
            if made_up and not _is_option(value) and not is_path(value) and not is_path(arg):
                self._whole(i + 1)

    def _after_header(self, i: int) -> None:
        """`Authorization:` and its value as arguments of their own."""
        arg = self.args[i]
        if not arg.endswith(":") or not _HEADER_NAME.fullmatch(arg):
            return
        if is_secret_name(arg[:-1]) and i + 1 < len(self.args):
            scheme = self.args[i + 1].lower() in ("bearer", "basic", "token", "digest", "apikey")
            self._whole(i + 2 if scheme else i + 1, "header")

    def _of_program(self, i: int) -> None:
        arg = self.args[i]
        value = self.args[i + 1] if i + 1 < len(self.args) else None
        if arg.startswith("-"):
            self._of_option(i)
        if value is not None and not is_harmless_value(value):
            if self.programs & _SEPARATE.get(arg, frozenset()) and not _is_option(value):
                self._whole(i + 1)
            if arg == "-p" and "login" in self.args[:i] and self.programs & _LOGIN:
                self._whole(i + 1)
            programs, signs = _USER_OPTIONS.get(arg, (frozenset[str](), ""))
            if self.programs & programs:
                self._user_password(i + 1, 0, signs)
        if "openssl" in self.programs and (match := _OPENSSL_PASS.fullmatch(arg)):
            self._add(i, *match.span("value"))
        if self.programs & {"xfreerdp", "wfreerdp"} and (match := _SLASH_OPTION.fullmatch(arg)):
            self._add(i, *match.span("value"))
        if "sqlplus" in self.programs and (match := _SQLPLUS.fullmatch(arg)):
            self._add(i, *match.span("value"))
        if arg == "-u" and self.programs & _LFTP and value and "," in value:
            self._add(i + 1, value.index(",") + 1, len(value))

    def _of_option(self, i: int) -> None:
        """Secrets that are glued to an option of one of the programs."""
        arg = self.args[i]
        for option, programs in _GLUED.items():
            glued = arg.startswith(option) and len(arg) > len(option)
            if glued and self.programs & programs and not arg.startswith("--"):
                self._add(i, len(option), len(arg))
        for option, (programs, signs) in _USER_OPTIONS.items():
            if self.programs & programs and len(arg) > len(option):
                if arg.startswith(f"{option}="):
                    self._user_password(i, len(option) + 1, signs)
                elif len(option) == 2 and arg.startswith(option):
                    self._user_password(i, 2, signs)

    def _user_password(self, i: int, begin: int, signs: str) -> None:
        for sign in signs:
            at = self.args[i].find(sign, begin)
            if at >= 0 and not is_harmless_value(self.args[i][at + 1 :]):
                self._add(i, at + 1, len(self.args[i]))
                return

    def _operands(self) -> None:
        for programs, words, which in _OPERANDS:
            if not self.programs & programs:
                continue
            at = next(i for i, arg in enumerate(self.args) if base_name(arg) in programs)
            operands = [
                i for i in range(at + 1, len(self.args)) if not self.args[i].startswith("-")
            ]
            texts = [self.args[i] for i in operands]
            if words and texts[: len(words)] != list(words):
                if len(words) != 1 or words[0] not in texts:
                    continue
                operands = operands[texts.index(words[0]) :]
            operands = operands[len(words) :]
            if not operands or which >= len(operands):
                continue
            if which < 0 and not words and not _takes_password(self.args[at + 1 :]):
                continue
            if not is_harmless_value(self.args[operands[which]]):
                self._whole(operands[which])

    def _nested(self, i: int, last: bool) -> None:
        """An argument may be a command of its own: `sh -c "mysql -psecret"`."""
        text = self.args[i]
        for secret, kind, meant in self._secrets_of_commands(text, last):
            at = text.find(secret)
            if at < 0:  # written with escapes
                self._whole(i, kind)
            while at >= 0:
                self.spans[i].append(Span(at, at + len(secret), kind, meant))
                at = text.find(secret, at + len(secret)) if len(secret) > 3 else -1

    def _secrets_of_commands(self, text: str, last: bool) -> list[tuple[str, str, str]]:
        """Secrets in the commands of a shell's text, each once: (as it stands there, its kind,
        what it means)."""
        result: dict[tuple[str, str, str], None] = {}
        for words in split_commands(text):
            found = find_in_arguments(words, cut=last, depth=self.depth - 1)
            for word, spans in zip(words, found, strict=True):
                for span in spans:
                    secret = word[span.begin : span.end]
                    if len(secret) > 1:
                        result[secret, span.kind, span.secret or secret] = None
        return list(result)


def tells(arg: str) -> bool:
    """Whether an argument of a command line may be more than its text by itself, or tell of its
    neighbours; where none does, `find_in_arguments` finds no more than `find_secrets`."""
    if "-----" in arg or arg.endswith(":") or (len(arg) > 7 and _SPACE.search(arg)):
        return True
    if base_name(arg) in _KNOWN:
        return True
    if not names_a_secret(arg.lower()):
        return False
    match = _NAMED.fullmatch(arg) if "=" in arg else None
    names = (match["name"], match["name"][1:]) if match is not None else ()
    return any(map(is_secret_name, (arg, *names)))


def split_commands(text: str) -> list[list[str]]:
    """Commands of a shell's text; not one of prose, code or what else has spaces in it."""
    words: list[str] = []
    for match in _WORD.finditer(text):
        if match["stray"]:  # a quote that is not closed
            words = text.split()[:_NESTED_WORDS]
            break
        words.append(_QUOTED.sub(_unquoted, match[0]) if match["quoted"] else match[0])
        if len(words) > _NESTED_WORDS:
            break
    commands: list[list[str]] = [[]]
    for word in words:
        if word in _OPERATORS:
            commands.append([])
        else:
            commands[-1].append(word)
    return [command for command in commands if len(command) > 1 or (command and "=" in command[0])]


def _unquoted(match: re.Match[str]) -> str:
    """What a quoted part of a word is: sh(1), as `shlex` does it."""
    escaped, double, single = match.groups()
    if double is not None:
        return re.sub(r'\\(["\\])', r"\1", double)
    return escaped if single is None else single


def _takes_password(args: Sequence[str]) -> bool:
    """htpasswd -b, mosquitto_passwd -b: the password is the last operand."""
    return any(arg.startswith("-") and not arg.startswith("--") and "b" in arg for arg in args)


def _is_pem_word(arg: str) -> bool:
    return "PRIVATE" in arg or arg.endswith("BEGIN")


def _is_option(value: str) -> bool:
    """-x, --long or --long=value; a password may begin with a dash, but not look like one."""
    return re.fullmatch(r"-[A-Za-z]|--[a-z][a-z-]*(?:=.*)?", value, re.DOTALL) is not None
