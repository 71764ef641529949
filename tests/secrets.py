"""Secrets to plant in captures, where people put them, and what to look for afterwards.

Nothing here is anybody's: all is made of fixed seeds, in the form that real ones have. The forms
are put together when the tests run, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import base64
import html
import json
import random
import re
import string
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

import numpy as np

from tracer.capture_format import JSON_TYPES
from tracer.capture_reader import CaptureReader

LETTERS, DIGITS = string.ascii_letters, string.digits
SIGNS = "!#$%^&*()-_+=[]{}:;,.<>?/~|@"


@dataclass(frozen=True)
class Planted:
    """A command line with a secret in it.

    Attributes:
        how: the context, for messages.
        needles: what must not be left of it.
    """

    how: str
    args: tuple[str, ...]
    needles: tuple[str, ...]


def password(rng: random.Random, size: int = 14, signs: str = "!#^*_+-.~") -> str:
    """A password with letters of both cases, digits, and some signs; never like an option."""
    chars = [rng.choice(string.ascii_lowercase), rng.choice(string.ascii_uppercase)]
    chars += [rng.choice(DIGITS), rng.choice(signs)]
    chars += [rng.choice(LETTERS + DIGITS + signs) for _ in range(size - 4)]
    rng.shuffle(chars)
    return rng.choice(LETTERS) + "".join(chars)


def token(rng: random.Random, size: int, alphabet: str = LETTERS + DIGITS) -> str:
    return "".join(rng.choice(alphabet) for _ in range(size))


def _basic(user: str, word: str) -> str:
    return base64.b64encode(f"{user}:{word}".encode()).decode()


# Each takes a password and gives the command line that it is in.
OPTIONS: dict[str, Callable[[str], list[str]]] = {
    f"{style} {name}": (lambda p, n=name, s=style: _option(n, p, s))
    for style in ("--x y", "--x=y", "-x y", "-x=y")
    for name in (
        "password", "passwd", "passphrase", "db-password", "db_pass", "dbPassword", "token",
        "api-key", "apikey", "api_key", "access-token", "auth-token", "secret", "client-secret",
        "clientSecret", "secret-key", "private-token", "registry-password", "smtp-pass",
        "http-password", "admin_password", "requirepass", "masterauth-password", "storepass",
        "encryption-key", "access_key", "bearer-token", "vault-token", "root-password",
        "jwt-secret", "signing-secret", "refresh-token", "session-token", "license-key",
    )
}  # fmt: skip
VARIABLES: dict[str, Callable[[str], list[str]]] = {
    f"{how} {name}": (lambda p, n=name, h=how: [*h.split(), f"{n}={p}", "image"])
    for how in ("env", "docker run -e", "docker run --env", "sudo", "podman run --env")
    for name in (
        "PASSWORD", "DB_PASSWORD", "PGPASSWORD", "MYSQL_ROOT_PASSWORD", "API_KEY", "SECRET_KEY",
        "SECRET_KEY_BASE", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "APP_SECRET", "JWT_SECRET",
        "SMTP_PASS", "REDIS_PASSWORD", "DJANGO_SECRET_KEY", "ENCRYPTION_KEY",
        "npm_config__authToken",
        "VAULT_TOKEN", "STRIPE_SECRET", "spring.datasource.password", "OAUTH_CLIENT_SECRET",
    )
}  # fmt: skip
PROGRAMS: dict[str, Callable[[str], list[str]]] = {
    "mysql -p": lambda p: ["mysql", "-uroot", f"-p{p}", "shop"],
    "docker exec mysql": lambda p: ["docker", "exec", "db", "mysqldump", f"-p{p}"],
    "sshpass": lambda p: ["sshpass", "-p", p, "ssh", "web1"],
    "curl -u": lambda p: ["curl", "-u", f"bob:{p}", "https://example.com/"],
    "curl --user=": lambda p: ["curl", f"--user=bob:{p}", "https://example.com/"],
    "docker login": lambda p: ["docker", "login", "-u", "bob", "-p", p, "registry.example.com"],
    "redis-cli": lambda p: ["redis-cli", "-a", p, "ping"],
    "ldapsearch": lambda p: ["ldapsearch", "-D", "cn=admin", "-w", p],
    "zip": lambda p: ["zip", "-P", p, "x.zip", "x"],
    "7z": lambda p: ["7z", "a", f"-p{p}", "x.7z"],
    "htpasswd": lambda p: ["htpasswd", "-b", "/etc/htpasswd", "bob", p],
    "openssl": lambda p: ["openssl", "rsa", "-passin", f"pass:{p}"],
    "vault login": lambda p: ["vault", "login", p],
    "rabbitmqctl": lambda p: ["rabbitmqctl", "add_user", "bob", p],
    "aws configure": lambda p: ["aws", "configure", "set", "aws_secret_access_key", p + "9x"],
    "java -D": lambda p: ["java", f"-Djavax.net.ssl.keyStorePassword={p}", "-jar", "a.jar"],
    "helm --set": lambda p: ["helm", "install", "--set", f"a=1,db.password={p}", "x"],
    "kubectl": lambda p: [
        "kubectl",
        "create",
        "secret",
        "generic",
        "x",
        f"--from-literal=password={p}",
    ],
    "smbclient": lambda p: ["smbclient", "-U", f"bob%{p}", "//host/share"],
    "mount cifs": lambda p: ["mount", "-o", f"username=bob,password={p}", "//host/share", "/mnt"],
    "sh -c mysql": lambda p: ["sh", "-c", f"cd /srv && mysql -uroot -p'{p}' shop < dump.sql"],
    "sh -c variable": lambda p: ["bash", "-lc", f"export DB_PASSWORD='{p}'; exec app"],
    "sh -c assignment": lambda p: ["sh", "-c", f"TOKEN='{p}' ./deploy --now"],
    "nested": lambda p: ["ssh", "web1", f"sh -c \"app --password '{p}'\""],
    "header": lambda p: ["curl", "-H", f"Authorization: Bearer {p}9", "https://example.com"],
    "header key": lambda p: ["curl", "-H", f"X-Api-Key: {p}", "https://example.com"],
    "header glued": lambda p: ["curl", f"-HX-Auth-Token: {p}", "https://example.com"],
    "header split": lambda p: ["http", "example.com", "Authorization:", "Bearer", p],
    "basic": lambda p: ["curl", "-H", f"Authorization: Basic {_basic('bob', p)}", "http://a/"],
    "json": lambda p: ["curl", "-d", json.dumps({"user": "bob", "password": p}), "http://a/"],
    "yaml": lambda p: ["helm", "template", f"db:\n  user: bob\n  password: {p}\n"],
    "form": lambda p: ["curl", "-d", f"user=bob&password={quote(p, safe='')}&x=1", "http://a/"],
    "query": lambda p: ["curl", f"https://example.com/x?access_token={quote(p, safe='')}&y=2"],
    "url": lambda p: ["psql", f"postgres://app:{p.replace('#', 'h')}@db.example.com/shop"],
    "url escaped": lambda p: ["app", f"--db=mysql://app:{quote(p, safe='')}@db:3306/shop"],
    "url without user": lambda p: ["app", f"redis://:{quote(p, safe='')}@cache:6379/0"],
    "variable of url": lambda p: ["env", f"DATABASE_URL=postgres://u:{quote_plus(p)}@db/x", "app"],
    "dsn": lambda p: ["app", f"host=db user=app password={p} dbname=shop"],
    "connection string": lambda p: ["app", f"Server=db;User=sa;Password={p};Encrypt=true"],
    "escaped pair": lambda p: ["app", quote(f"password={p}", safe="")],
    "base64 pair": lambda p: ["app", base64.b64encode(f"password={p}".encode()).decode()],
    "base64 url": lambda p: [
        "app",
        base64.b64encode(f"https://u:{p}@h/".replace("#", "h").encode()).decode(),
    ],
}

# Written after the rules were, and run blind: see docs/redaction.md.
LATER: dict[str, Callable[[str], list[str]]] = {
    "docker config": lambda p: [
        "sh", "-c", f'echo \'{{"auths":{{"r":{{"auth":"{_basic("bob", p)}"}}}}}}\' > c.json',
    ],
    "docker config json": lambda p: [
        "app", json.dumps({"auths": {"r.example.com": {"auth": _basic("bob", p)}}}),
    ],
    "kubectl token": lambda p: ["kubectl", "--token", p, "get", "pods"],
    "kubectl credentials": lambda p: [
        "kubectl", "config", "set-credentials", "x", f"--token={p}",
    ],
    "kubectl registry": lambda p: [
        "kubectl", "create", "secret", "docker-registry", "x", f"--docker-password={p}",
    ],
    "mongodb+srv": lambda p: ["app", f"mongodb+srv://u:{quote(p, safe='')}@c.example.net/x"],
    "amqp": lambda p: ["celery", "-b", f"amqp://u:{quote(p, safe='')}@mq:5672//"],
    "jdbc": lambda p: ["java", f"-Durl=jdbc:mysql://h/db?user=u&password={quote(p, safe='')}"],
    "jdbc oracle": lambda p: ["java", f"jdbc:oracle:thin:scott/{quote(p, safe='')}@h:1521/x"],
    "odbc": lambda p: ["app", f"Driver={{PostgreSQL}};Server=h;Uid=u;Pwd={p};"],
    "azure": lambda p: ["app", f"AccountName=x;AccountKey={p}==;EndpointSuffix=core.windows.net"],
    "build-arg": lambda p: ["docker", "build", "--build-arg", f"NPM_TOKEN={p}", "."],
    "build-arg glued": lambda p: ["docker", "build", f"--build-arg=DB_PASSWORD={p}", "."],
    "here-doc": lambda p: ["sh", "-c", f"cat > x <<EOF\nuser=bob\npassword={p}\nEOF\napp x"],
    "here-doc yaml": lambda p: ["sh", "-c", f"cat > x <<'EOF'\ndb:\n  password: {p}\nEOF"],
    "double quotes": lambda p: ["sh", "-c", f'app --password "{p}" --now'],
    "glued quotes": lambda p: ["sh", "-c", f"app --password='{p}' --now"],
    "shell escapes": lambda p: ["sh", "-c", "app --password " + re.sub(r"(\W)", r"\\\1", p)],
    "echo login": lambda p: [
        "sh", "-c", f"echo '{p}' | docker login -u bob --password-stdin r.example.com",
    ],
    "printf login": lambda p: ["sh", "-c", f'printf "%s" "{p}" | podman login --password-stdin r'],
    "chpasswd": lambda p: ["sh", "-c", f"echo 'bob:{p}' | chpasswd"],
    "sudo -S": lambda p: ["bash", "-c", f"echo {p.replace('#', '%')} | sudo -S id"],
    "here-string": lambda p: ["bash", "-c", f"docker login --password-stdin r <<< '{p}'"],
    "wget": lambda p: ["wget", "--user=bob", f"--http-password={p}", "http://a/"],
    "sshpass glued": lambda p: ["sshpass", f"-p{p}", "ssh", "web1"],
    "sh -c PGPASSWORD": lambda p: ["sh", "-c", f"PGPASSWORD='{p}' psql -h db -c 'select 1'"],
    "gpg": lambda p: ["gpg", "--batch", "--passphrase", p, "-d", "x.gpg"],
    "openssl enc": lambda p: ["openssl", "enc", "-aes-256-cbc", "-k", p, "-in", "x"],
    "json list": lambda p: ["app", json.dumps(["serve", "--password", p])],
    "json list pair": lambda p: ["app", json.dumps(["serve", f"--password={p}"])],
    "json escaped": lambda p: ["app", json.dumps(json.dumps({"token": p}))],
    "cookie": lambda p: ["curl", "-H", f"Cookie: session={p}", "http://a/"],
    "cookie option": lambda p: ["curl", "--cookie", f"sessionid={p}", "http://a/"],
    "private-token": lambda p: ["curl", f"--header=PRIVATE-TOKEN: {p}", "http://a/"],
    "git clone": lambda p: ["git", "clone", f"https://oauth2:{quote(p, safe='')}@example.com/x"],
    "git extraheader": lambda p: [
        "git", "-c", f"http.extraheader=AUTHORIZATION: basic {_basic('x', p)}", "fetch",
    ],
    "psql quoted": lambda p: ["psql", f"host=h user=u password='{p}' dbname=x"],
    "env -i": lambda p: ["env", "-i", f"APP_TOKEN={p}", "app"],
    "su -c": lambda p: ["su", "postgres", "-c", f"DEPLOY_TOKEN='{p}' app"],
    "timeout mysql": lambda p: ["timeout", "5", "mysql", f"-p{p}"],
    "nsenter mysql": lambda p: ["nsenter", "-t", "77", "-m", "mysql", "-uroot", f"-p{p}"],
    "ansible": lambda p: ["ansible-playbook", "-e", f"ansible_password={p}", "x.yml"],
    "ansible json": lambda p: ["ansible", "-e", json.dumps({"ansible_become_pass": p}), "x"],
    "terraform": lambda p: ["terraform", "apply", "-var", f"db_password={p}"],
    "rclone": lambda p: ["rclone", "copy", "--s3-secret-access-key", p, "a", "b"],
    "restic": lambda p: ["restic", "-r", f"rest:http://u:{quote(p, safe='')}@h/x", "backup"],
    "powershell": lambda p: ["pwsh", "-c", f"Connect-Thing -User bob -Password '{p}'"],
    "xml": lambda p: ["app", f'<add key="SmtpPassword" value="{p}"/>'],
    "ini": lambda p: ["app", f"[db]\nuser = bob\npassword = {p}\n"],
    "netrc": lambda p: ["app", f"machine example.com login bob password {p}"],
    "properties": lambda p: ["java", f"-Dspring-boot.run.arguments=--db.password={p}"],
    "double escaped": lambda p: ["app", quote(quote(f"password={p}", safe=""), safe="")],
    "base64 json": lambda p: [
        "app", base64.b64encode(json.dumps({"user": "bob", "password": p}).encode()).decode(),
    ],
    "base64 shifted": lambda p: [
        "app", base64.b64encode(f"x=1;password={p};y=2".encode()).decode(),
    ],
    "hex pair": lambda p: ["app", f"password={p}".encode().hex()],
}  # fmt: skip


def _option(name: str, value: str, style: str) -> list[str]:
    dashes = "--" if style.startswith("--") else "-"
    if style.endswith("=y"):
        return ["app", "serve", f"{dashes}{name}={value}", "--port", "80"]
    return ["app", "serve", f"{dashes}{name}", value, "--port", "80"]


# Tokens that are known by their form, with no name beside them.
TOKENS: dict[str, Callable[[random.Random], str]] = {
    "github": lambda r: "ghp" + "_" + token(r, 36),
    "github fine": lambda r: "github" + "_pat_" + token(r, 22) + "_" + token(r, 59),
    "gitlab": lambda r: "glpat" + "-" + token(r, 20),
    "aws id": lambda r: "AKIA" + token(r, 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
    "google": lambda r: "AIza" + "Sy" + token(r, 33),
    "slack": lambda r: "-".join(
        ("xoxb", token(r, 12, DIGITS), token(r, 12, DIGITS), token(r, 24))
    ),
    "stripe": lambda r: "sk" + "_live_" + token(r, 24),
    "sendgrid": lambda r: "SG" + "." + token(r, 22) + "." + token(r, 43),
    "npm": lambda r: "npm" + "_" + token(r, 36),
    "pypi": lambda r: "pypi" + "-AgEIcHlwaS5vcmc" + token(r, 80),
    "jwt": lambda r: ".".join(
        base64.urlsafe_b64encode(part).decode().rstrip("=")
        for part in (
            b'{"alg":"HS256","typ":"JWT"}',
            b'{"sub":"' + token(r, 20).encode() + b'"}',
            token(r, 32).encode(),
        )
    ),
    "docker": lambda r: "dckr" + "_pat_" + token(r, 27),
    "vault": lambda r: "hvs" + "." + token(r, 95),
    "digitalocean": lambda r: "dop" + "_v1_" + token(r, 64, "0123456789abcdef"),
    "random 40": lambda r: token(r, 40),
    "random 32": lambda r: token(r, 32),
    "random url-safe": lambda r: token(r, 43, LETTERS + DIGITS + "-_"),
    "hex 32": lambda r: token(r, 32, "0123456789abcdef"),
    "hex 48": lambda r: token(r, 48, "0123456789abcdef"),
}  # fmt: skip
CARRIERS: dict[str, Callable[[str], list[str]]] = {
    "operand": lambda t: ["app", "use", t],
    "option": lambda t: ["app", "--value", t, "next"],
    "glued": lambda t: ["app", f"--value={t}"],
    "in a command": lambda t: ["sh", "-c", f"app use {t} | tee log"],
    "query": lambda t: ["curl", f"https://example.com/?v={t}"],
}


def private_key(rng: random.Random) -> str:
    body = "\n".join(token(rng, 64, LETTERS + DIGITS + "+/") for _ in range(8))
    kind = rng.choice(("RSA ", "EC ", "", "OPENSSH "))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


def planted(seed: int) -> Iterator[Planted]:
    """Some hundreds, of all kinds."""
    rng = random.Random(seed)
    for how, make in (OPTIONS | VARIABLES | PROGRAMS | LATER).items():
        word = password(rng)
        yield Planted(how, tuple(make(word)), (word,))
    for form, make_token in TOKENS.items():
        for carrier, carry in CARRIERS.items():
            secret = make_token(rng)
            yield Planted(f"{form} as {carrier}", tuple(carry(secret)), (secret,))
    for how in ("--key", "operand", "base64"):
        key = private_key(rng)
        lines = tuple(line for line in key.split("\n") if "-----" not in line)
        text = base64.b64encode(key.encode()).decode() if how == "base64" else key
        yield Planted(f"private key, {how}", ("app", text), lines)


def forms(secret: str) -> set[bytes]:
    """A secret in every encoding that somebody might read it in."""
    raw = secret.encode()
    coded = base64.b64encode(raw)
    found = {raw, raw[::-1], coded, coded.rstrip(b"="), base64.urlsafe_b64encode(raw).rstrip(b"=")}
    found |= {raw.hex().encode(), raw.hex().upper().encode(), json.dumps(secret)[1:-1].encode()}
    found |= {quote(secret, safe="").encode(), quote(secret).encode(), quote_plus(secret).encode()}
    found |= {raw.decode().encode(code) for code in ("utf-16-le", "utf-16-be")}
    found |= {html.escape(secret).encode(), json.dumps(quote(secret, safe=""))[1:-1].encode()}
    for shift in (1, 2):  # inside of a longer text: without the characters that others share
        inner = base64.b64encode(b"\0" * shift + raw)[4:-4]
        if len(inner) >= 8:
            found.add(inner)
    return found


def every_byte(path: str) -> bytes:
    """All that a capture says: its header, its chunks opened, its bytes as they are."""
    with open(path, "rb") as file:
        parts = [file.read()]
    with CaptureReader(path) as reader:
        parts.append(json.dumps(reader.header, ensure_ascii=False).encode())
        for kind, content in reader.chunks():
            parts.append(content)
            if kind in JSON_TYPES:
                parts.append(json.dumps(json.loads(content), ensure_ascii=False).encode())
        assert reader.complete
    return b"\0\0".join(parts)


def every_byte_of_ticket(path: Path, folder: Path) -> bytes:
    """All that an archive says: its bytes as they are, its members, the capture's chunks opened,
    texts of the picture, texts and data of the page without their escapes."""
    parts = [path.read_bytes()]
    with zipfile.ZipFile(path) as archive:
        parts += [archive.comment, *(name.encode() for name in archive.namelist())]
        members = {name: archive.read(name) for name in archive.namelist()}
    parts += members.values()
    if "capture.rtrace" in members:
        copy = folder / "member.rtrace"
        copy.write_bytes(members["capture.rtrace"])
        parts.append(every_byte(str(copy)))
    if "timeline.png" in members:
        parts += _texts_of_png(members["timeline.png"])
    if "report.html" in members:
        page = members["report.html"].decode()
        parts.append(html.unescape(page).encode())
        blocks = re.findall(
            r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL
        )
        assert blocks, "the page has no data"
        parts += [json.dumps(json.loads(b), ensure_ascii=False).encode() for b in blocks]
    return b"\0\0".join(parts)


def _texts_of_png(content: bytes) -> Iterator[bytes]:
    """What is said in chunks other than those of the picture, opened where compressed."""
    position = 8
    while position < len(content):
        size = int.from_bytes(content[position : position + 4])
        kind, data = content[position + 4 : position + 8], content[position + 8 :][:size]
        if kind not in (b"IDAT", b"IHDR", b"IEND"):
            yield data
            if kind in (b"zTXt", b"iTXt") and b"\0" in data:
                yield zlib.decompress(data[data.index(b"\0") + 2 :])
        position += 12 + size


def leaks(content: bytes, needle: str) -> list[bytes]:
    """The forms of a secret that are left."""
    return [form for form in forms(needle) if form in content]


def all_leaks(content: bytes, needles: Iterable[str]) -> list[str]:
    """Those of many secrets of which any form is left: in one look at what may be megabytes."""
    starts: dict[int, list[tuple[bytes, str]]] = {}
    for needle in needles:
        for form in forms(needle):
            starts.setdefault(int.from_bytes(form[:4], "little"), []).append((form, needle))
    raw = np.frombuffer(content, np.uint8).astype(np.uint32)
    words = raw[:-3] | raw[1:-2] << 8 | raw[2:-1] << 16 | raw[3:] << 24
    places = np.flatnonzero(np.isin(words, np.array(list(starts), np.uint32)))
    return sorted(
        {
            needle
            for at in places.tolist()
            for form, needle in starts[int(words[at])]
            if content.startswith(form, at)
        }
    )
