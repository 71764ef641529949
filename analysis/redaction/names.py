"""What names tell: which belong to secrets, which values are none, who is nobody in person."""

from __future__ import annotations

import functools
import re

from analysis.redaction.vocabulary import any_of, word_set

# Words of a name that say that its value is secret ...
_SECRET_WORDS = word_set(
    "password passwords passwd pass pwd pw passphrase passcode secret secrets token tokens apikey "
    "authkey authtoken accesskey secretkey privatekey credential credentials creds cred bearer "
    "jwt dsn pat cookie cookies sas otp totp pincode mnemonic seedphrase authorization psk "
    "signature hmac sessionid sid passwort kennwort motdepasse contrasena auth salt nonce"
)
# ... words that make `key` such a name (`api-key`, and no `sort-key`), ...
_KEY_WORDS = word_set(
    "api access secret private encryption encrypt decrypt decryption auth license licence master "
    "shared signing sign account storage security service admin root deploy ssh gpg pgp aes rsa "
    "hmac session cookie client server app application subscription host webhook integration "
    "write read ingest instrumentation wg wireguard preshared cipher vault unseal"
)
# ... and those of keys that everybody may see.
_KEYS_OF_DATA = word_set(
    "sort partition primary foreign public cache object row group index map routing shard range "
    "hash order natural composite candidate unique column field label metric meta dict idempotency "
    "pub host known trusted arrow return enter escape space tab"
)
# ... words within one word (`requirepass`, `keyStorePassword`, `mypassword`), ...
_SECRET_PARTS = re.compile(
    r"passw(?:or)?d|passphrase|secret|token|api_?key|credential|(?:key|store|user|require|master|"
    r"auth|db|root|admin|my|smtp|ssl|bind|trust|ldap|proxy|mail|sql|pg)pass$|pwd$"
)
# Without one of these no name tells of a secret: other texts are not looked at for names.
_STEMS = re.compile(
    any_of(
        [*_SECRET_WORDS, "key", "password", "passwd", "passphrase", "secret", "token", "credential"]
    )
)
# ... and last words that say that the value is something about it.
_ABOUT = word_set(
    "file files path paths dir directory folder url uri endpoint host port ttl timeout expiry "
    "expiration expires lifetime duration length len size min max count limit policy policies "
    "mode type kind name names id ids stdin prompt enabled enable disabled required require "
    "webhook plugin plugins provider providers backend method methods format algorithm alg "
    "alias store storetype helper env fd rotation version audience issuer scope scopes location "
    "header bypass compass review reviewer driver engine ref refs refresh interval cmd command "
    "regex pattern provider class label labels selector namespace role roles age days history "
    "quality strength only once ask tty support salt-rounds rounds budget bucket source "
    "validation check checks encryption usage mount tree ring rings index map group groups bits "
    "hash-algorithm cache retries"
)
_ABOUT_EXCEPT = frozenset(("secret_access_key_id",))
_NO_SECRET_NAMES = frozenset(
    ("pass", "passes", "sid", "pat", "cookies-enabled", "tokenizer", "tokenizers", "signature",
     "auth", "cred", "key-pass-file")
)  # fmt: skip
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPLIT = re.compile(r"[-_.\s/:\[\]]+")

_NOTHING = word_set(
    "true false yes no on off none null nil undefined auto default always never enabled disabled "
    "optional required required+ prompt ask stdin env file keychain anonymous basic digest bearer "
    "token password oauth oauth2 oidc ldap pam sasl scram kerberos plain md5 sha1 sha256 sha512 "
    "bcrypt simple hmac jwt webhook rbac node alwaysallow x509 mtls - + * ? 0 1"
)
_REFERENCE = re.compile(
    r"\$(?:[A-Z_][A-Z0-9_]*|[a-z_]+|\d)|\$\{[^}]*\}|\$\([^)]*\)|%[A-Z_]+%|\{\{.*\}\}|<[\w -]+>|\*+|"
    r"(?:env|file|fd|stdin|secret|vault|ref|arn):.*|%[-\d.]*[sdxv]",
    re.DOTALL,
)
_PATH = re.compile(
    r"(?:~|\.{1,2})?(?:/[\w@%+.-]+){2,}/?|(?:~|\.{1,2})/[\w@%+.-]+|/[\w-]+\.[a-z]{1,5}"
)

SYSTEM_USERS = word_set(
    "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats "
    "nobody systemd-network systemd-resolve systemd-timesync systemd-coredump messagebus sshd "
    "postgres mysql redis mongodb rabbitmq nginx apache apache2 httpd tomcat jenkins git docker "
    "dockremap containerd ntp chrony dnsmasq libvirt-qemu polkitd avahi rtkit pulse gdm sddm "
    "lightdm colord statd rpc rpcuser dbus operator halt shutdown adm ftp user users admin "
    "administrator ubuntu debian centos fedora core vagrant ec2-user node app default test guest "
    "shared public lost+found linuxbrew runner elasticsearch kafka zookeeper prometheus grafana "
    "haproxy memcache memcached _apt etcd postfix dovecot named bind wwwrun service "
    "www elastic oracle tss systemd"
)


def words_of(name: str) -> list[str]:
    """Words of an option's or variable's name, in lower case."""
    return [word.lower() for word in _SPLIT.split(_CAMEL.sub("-", name.strip("-"))) if word]


def names_a_secret(lower: str) -> bool:
    """Whether a text, in lower case, may have the name of a secret in it, or of a key."""
    return _STEMS.search(lower) is not None


@functools.lru_cache(maxsize=1 << 14)
def is_secret_name(name: str) -> bool:
    """Whether the value of an option, variable, header or field of this name is a secret."""
    words = words_of(name)
    if not words or len(name) > 100:
        return False
    last = words[-1]
    if last.isdecimal() and len(words) > 1:
        words, last = words[:-1], words[-2]
    if last in _ABOUT and "-".join(words) not in _ABOUT_EXCEPT:
        return False
    if len(words) == 1:
        if last in _NO_SECRET_NAMES:
            return last in ("pass", "auth", "signature")
        last = last.rstrip("0123456789")
        return last in _SECRET_WORDS or _SECRET_PARTS.search(last) is not None
    if any(word in _SECRET_WORDS or _SECRET_PARTS.search(word) for word in words):
        return True
    return any(
        word in ("key", "keys") and words[i - 1] in _KEY_WORDS for i, word in enumerate(words) if i
    )


def is_key_name(name: str) -> bool:
    """`virustotal_key`, `cacheKey`: keys of any kind, some of which are secret."""
    words = words_of(name)
    return len(words) > 1 and words[-1] in ("key", "keys") and words[-2] not in _KEYS_OF_DATA


def is_weak_name(name: str) -> bool:
    """Names that often have harmless values, which count only where they look made up."""
    return bool(
        set(words_of(name))
        & {"auth", "signature", "sid", "cookie", "pat", "seed", "key", "dsn", "salt", "nonce", "pw"}
    ) and not _SECRET_PARTS.search(name.lower())


def is_harmless_value(value: str) -> bool:
    """A value that is no secret, whatever its name: a choice, a variable, nothing."""
    bare = value.strip("'\"")
    return len(bare) < 2 or bare.lower() in _NOTHING or _REFERENCE.fullmatch(bare) is not None


def is_path(value: str) -> bool:
    """A path of two parts or more, or of one with a suffix."""
    return _PATH.fullmatch(value) is not None


def is_system_user(name: str) -> bool:
    """Nobody in person: an account that packages or images make."""
    return name.lower() in SYSTEM_USERS or name.startswith("systemd-") or name.isdecimal()
