"""Every setting of GuardMDM that comes from the environment: one typed table.

`mdm/settings.py` turns these values into Django's settings; `docs/settings.md` is this table in
words. Nothing else in the project reads `os.environ`.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mdm import providers
from mdm.providers import IdentityProvider

BASE_DIR = Path(__file__).resolve().parent.parent

APPLE_APNS = "https://api.push.apple.com"
APPLE_DEP = "https://mdmenrollment.apple.com"
APPLE_VPP = "https://vpp.itunes.apple.com"
APPLE_ABM_API = "https://api-business.apple.com"


class BadEnvironment(Exception):
    """A setting is missing or cannot be understood; the message names it and says what to do."""


class Mode(StrEnum):
    DEVELOPMENT = "development"
    DEMO = "demo"
    TEST = "test"
    PRODUCTION = "production"


class IdentityMode(StrEnum):
    """How a device proves who it is on the check-in and connect endpoints."""

    MDM_SIGNATURE = "mdm-signature"
    CLIENT_CERT = "client-cert"
    NGINX = "nginx"


class Serves(StrEnum):
    """Whom a web process serves."""

    ALL = "all"
    DEVICES = "devices"
    PEOPLE = "people"


def _path(text: str) -> Path:
    return Path(text).expanduser().resolve()


def _flag(text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("say true or false")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(",", " ").split() if word)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("give a whole URL such as https://mdm.example.com")
    return text.rstrip("/")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ValueError("a port is a number between 1 and 65535")
    return int(text)


def _history_days(text: str) -> int:
    if not text.isdecimal() or not 7 <= int(text) <= 36_500:
        raise ValueError("history is kept for 7 to 36500 days")
    return int(text)


def _seconds(text: str) -> float:
    if not text.isdecimal() or not 0 < int(text) <= 3600:
        raise ValueError("give whole seconds between 1 and 3600")
    return float(text)


def _rate(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1_000_000:
        raise ValueError("give a whole number between 1 and 1000000")
    return int(text)


def _delay(text: str) -> timedelta:
    if not text.isdecimal() or int(text) > 86_400:
        raise ValueError("give whole seconds, 86400 at most")
    return timedelta(seconds=int(text))


def _budget(text: str) -> tuple[tuple[str, int], ...]:
    budget = {"helper": 0, "operator": 0, "admin": 0}
    for word in _words(text):
        role, _, number = word.partition("=")
        if role not in budget or not number.isdecimal() or len(number) > 7:
            raise ValueError("give a number for each of helper, operator and admin")
        budget[role] = int(number)
    return tuple(budget.items())


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(word, strict=False) for word in _words(text))


def _keys(text: str) -> tuple[bytes, ...]:
    try:
        keys = tuple(base64.urlsafe_b64decode(word) for word in _words(text))
    except (binascii.Error, ValueError) as error:
        raise ValueError("each key is 32 bytes in base64") from error
    if any(len(key) != 32 for key in keys):
        raise ValueError("each key is 32 bytes in base64")
    return keys


def variable(
    name: str, parse: Callable[[str], Any], default: Any, help: str, *, required: bool = False
) -> Any:
    """One line of the table. `required` is for production; elsewhere the default serves."""
    return field(
        default=default,
        metadata={"name": name, "parse": parse, "help": help, "required": required},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """The environment, parsed. Make one with `Env.load(os.environ)`."""

    mode: Mode = variable(
        "GUARD_ENV", Mode, Mode.DEVELOPMENT, "development, demo, test or production."
    )
    state_dir: Path = variable(
        "GUARD_STATE_DIR",
        _path,
        BASE_DIR / "var",
        "The folder that holds everything a running server on one machine keeps.",
    )
    secret_key: str = variable(
        "GUARD_SECRET_KEY",
        str,
        "development-only-secret-key-development-only",
        "Signs sessions and links. At least 50 random characters.",
        required=True,
    )
    encryption_keys: tuple[bytes, ...] = variable(
        "GUARD_ENCRYPTION_KEYS",
        _keys,
        (b"development-only-encryption-key!",),
        "Keys for secrets at rest, 32 bytes each in base64, newest first. To rotate, put a new key"
        " in front, run `manage.py rotate_keys`, then remove the old one.",
        required=True,
    )
    database_url: str = variable(
        "DATABASE_URL",
        str,
        "",
        "postgresql://user:password@host:port/name; the embedded Postgres when empty.",
        required=True,
    )
    redis_url: str = variable(
        "REDIS_URL",
        str,
        "",
        "redis://host:port/0, rediss:// or unix://path?db=0; the embedded Valkey when empty.",
        required=True,
    )
    public_url: str = variable(
        "GUARD_PUBLIC_URL",
        _url,
        "https://localhost:8443",
        "The address at which devices reach this server; it is written into profiles.",
        required=True,
    )
    dashboard_url: str = variable(
        "GUARD_DASHBOARD_URL",
        _url,
        "http://localhost:8000",
        "The address at which people reach the dashboard; used in mails and links.",
        required=True,
    )
    people_port: int = variable(
        "GUARD_PEOPLE_PORT",
        _port,
        8000,
        "The dashboard's port on this machine, for `make up` and `make demo`.",
    )
    devices_port: int = variable(
        "GUARD_DEVICES_PORT",
        _port,
        8443,
        "The devices' port on this machine, for `make up` and `make demo`.",
    )
    devices_host: str = variable(
        "GUARD_DEVICES_HOST",
        str,
        "0.0.0.0",  # noqa: S104 - devices come from outside
        "The address on which `make up` and `make demo` listen for devices.",
    )
    allowed_hosts: tuple[str, ...] = variable(
        "GUARD_ALLOWED_HOSTS",
        _words,
        (),
        "More host names to answer to, besides those of the two addresses above.",
    )
    organization: str = variable(
        "GUARD_ORGANIZATION",
        str,
        "GuardMDM",
        "The organization's name, shown to people who enroll a device.",
    )
    identity_mode: IdentityMode = variable(
        "GUARD_IDENTITY_MODE",
        IdentityMode,
        IdentityMode.MDM_SIGNATURE,
        "How devices prove who they are: mdm-signature; client-cert (RFC 9440 header from a"
        " trusted proxy); nginx (URL-escaped PEM from a trusted proxy).",
    )
    identity_header: str = variable(
        "GUARD_IDENTITY_HEADER",
        str,
        "",
        "The header with the client certificate; Client-Cert for client-cert and"
        " X-Client-Cert for nginx when empty.",
    )
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = variable(
        "GUARD_TRUSTED_PROXIES",
        _networks,
        (),
        "Addresses or networks of the proxies whose certificate and forwarded headers count.",
    )
    serves: Serves = variable(
        "GUARD_SERVES",
        Serves,
        Serves.ALL,
        "Whom a web process serves: all, devices (with the pages that people open on one), or"
        " people (dashboard and API), so that each can listen at an address of its own.",
    )
    body_seconds: float = variable(
        "GUARD_BODY_SECONDS",
        _seconds,
        60.0,
        "How long a client may take to send the body of a request; less, down to 5 seconds, where"
        " many take long at the same time.",
    )
    extra_apps: tuple[str, ...] = variable(
        "GUARD_EXTRA_APPS", _words, (), "More Django apps to install, by name."
    )
    apns_url: str = variable(
        "GUARD_APNS_URL", _url, APPLE_APNS, "Apple's push service; only Apple's in production."
    )
    apns_ca: Path | None = variable(
        "GUARD_APNS_CA",
        _path,
        None,
        "A CA certificate (PEM) to trust for the push service instead of the system's;"
        " refused in production.",
    )
    device_ca: Path | None = variable(
        "GUARD_DEVICE_CA",
        _path,
        None,
        "A root certificate (PEM) to believe devices beside Apple's, in Automated Device"
        " Enrollment; refused in production.",
    )
    dep_url: str = variable(
        "GUARD_DEP_URL", _url, APPLE_DEP, "Apple's device enrollment service; Apple's in production"
    )
    vpp_url: str = variable(
        "GUARD_VPP_URL", _url, APPLE_VPP, "Apple's Apps and Books service; Apple's in production."
    )
    abm_api_url: str = variable(
        "GUARD_ABM_API_URL",
        _url,
        APPLE_ABM_API,
        "Apple Business Manager's API; Apple's in production.",
    )
    smtp_url: str = variable(
        "GUARD_SMTP_URL",
        str,
        "",
        "smtp://user:password@host:port or smtps://; mails are written to the log when empty.",
    )
    mail_from: str = variable(
        "GUARD_MAIL_FROM", str, "guardmdm@localhost", "The sender of mails to admins."
    )
    oidc: tuple[IdentityProvider, ...] = variable(
        "GUARD_OIDC",
        providers.read,
        (),
        "A TOML file with the identity providers (OpenID Connect) that people may sign in with;"
        " docs/roles.md has one.",
    )
    history_days: int = variable(
        "GUARD_HISTORY_DAYS",
        _history_days,
        400,
        "For how many days finished commands, answers, check-in messages, refused requests, the"
        " escrow of ended enrollments, and ABM's sync runs and ledger are kept; at least 7. Events"
        " and their deliveries go after 30 days. The audit log is kept for good.",
    )
    destructive_budget: tuple[tuple[str, int], ...] = variable(
        "GUARD_DESTRUCTIVE_BUDGET",
        _budget,
        (("helper", 5), ("operator", 25), ("admin", 100)),
        "To how many devices an hour one person may send destructive commands alone, by role, such"
        " as `helper=5 operator=25 admin=100`; beyond it a second person approves.",
    )
    destructive_delay: timedelta = variable(
        "GUARD_DESTRUCTIVE_DELAY",
        _delay,
        timedelta(minutes=5),
        "For how many seconds a destructive command to more than one device can still be cancelled"
        " before it starts; 300 when empty.",
    )
    wake_rate: int = variable(
        "GUARD_WAKE_RATE",
        _rate,
        500,
        "How many devices a command to many wakes each second; 500 when empty.",
    )
    webhook_networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = variable(
        "GUARD_WEBHOOK_NETWORKS",
        _networks,
        (),
        "Networks beside the public internet that webhooks may go to, such as `10.20.0.0/16`.",
    )
    api_rate: int = variable(
        "GUARD_API_RATE",
        _rate,
        1000,
        "How many requests a minute the API answers for each token, for each person, and for each"
        " address that shows neither.",
    )
    log_level: str = variable("GUARD_LOG_LEVEL", str, "INFO", "DEBUG, INFO, WARNING or ERROR.")

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Env:
        """Parse `environ`. Raises BadEnvironment with one sentence for the first thing wrong."""
        values = {f.name: _value(f.metadata, environ) for f in fields(cls) if _given(f, environ)}
        env = cls(**values)
        if env.mode is Mode.PRODUCTION:
            env._check_production(environ)
        return env

    @property
    def production(self) -> bool:
        return self.mode is Mode.PRODUCTION

    @property
    def identity_header_key(self) -> str:
        """The WSGI key of the header that carries the client certificate."""
        default = "Client-Cert" if self.identity_mode is IdentityMode.CLIENT_CERT else ""
        name = self.identity_header or default or "X-Client-Cert"
        return "HTTP_" + name.upper().replace("-", "_")

    def _check_production(self, environ: Mapping[str, str]) -> None:
        for f in fields(self):
            if f.metadata["required"] and not environ.get(f.metadata["name"]):
                raise BadEnvironment(
                    f"{f.metadata['name']} must be set in production: {f.metadata['help']}"
                )
        apple = {
            "GUARD_APNS_URL": (self.apns_url, {APPLE_APNS, APPLE_APNS + ":2197"}),
            "GUARD_DEP_URL": (self.dep_url, {APPLE_DEP}),
            "GUARD_VPP_URL": (self.vpp_url, {APPLE_VPP}),
            "GUARD_ABM_API_URL": (self.abm_api_url, {APPLE_ABM_API}),
        }
        for name, (given, allowed) in apple.items():
            if given.removesuffix(":443") not in allowed:
                raise BadEnvironment(f"{name} must be Apple's own address in production.")
        if self.apns_ca is not None:
            raise BadEnvironment("GUARD_APNS_CA is for stand-ins; unset it in production.")
        if self.device_ca is not None:
            raise BadEnvironment("GUARD_DEVICE_CA is for stand-ins; unset it in production.")
        if len(self.secret_key) < 50:
            raise BadEnvironment("GUARD_SECRET_KEY is too short: use 50 random characters or more.")
        for url, name in (
            (self.public_url, "GUARD_PUBLIC_URL"),
            (self.dashboard_url, "GUARD_DASHBOARD_URL"),
        ):
            if not url.startswith("https://"):
                raise BadEnvironment(f"{name} must begin with https:// in production.")
        for provider in self.oidc:
            if not provider.url.startswith("https://"):
                raise BadEnvironment(
                    f"GUARD_OIDC: the url of {provider.id} must begin with https:// in production."
                )


def _given(f: Any, environ: Mapping[str, str]) -> bool:
    return bool(environ.get(f.metadata["name"], "").strip())


def _value(metadata: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
    text = environ[metadata["name"]].strip()
    try:
        return metadata["parse"](text)
    except ValueError as error:
        raise BadEnvironment(
            f"{metadata['name']} cannot be understood: {error}. {metadata['help']}"
        ) from None
