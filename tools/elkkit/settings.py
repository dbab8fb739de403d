"""Settings: flags, then `ELKKIT_*`, then `elkkit.toml`, then the user's file, then defaults; each with its origin."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from elkkit.contract import Contract, extend, load_contract
from elkkit.errors import ConfigError, from_os_error

PROJECT_FILE = "elkkit.toml"
MASK = "********"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting that can be given by flag, variable or file."""

    name: str
    short: str
    default: str | float | bool | None = None
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"ELKKIT_{self.name.upper()}"


SETTINGS = {
    s.name: s
    for s in (
        Setting("dataset", "dataset of the events; the stream is logs-<dataset>-<namespace>"),
        Setting("namespace", "namespace of the data stream"),
        Setting("own_metrics", "metrics that are not listed: any or listed"),
        Setting("run_id", "id of the run that is scored; minted when absent"),
        Setting("es_url", "address of Elasticsearch"),
        Setting("kibana_url", "address of Kibana, or of OpenSearch Dashboards"),
        Setting("logstash_url", "address of Logstash's API, such as http://localhost:9600"),
        Setting("log_files", "log files of the scorers, with * and ?; Filebeat's file reads the same variable"),
        Setting("filebeat_url", "address of Filebeat's counters, such as http://localhost:5066"),
        Setting("api_key", "Elasticsearch API key", secret=True),
        Setting("es_user", "user of Elasticsearch, where there is no API key"),
        Setting("es_password", "password of that user", secret=True),
        Setting("ca_cert", "file with the certificate authority of Elasticsearch"),
        Setting("fingerprint", "SHA-256 of the certificate of Elasticsearch, instead of an authority"),
        Setting("insecure", "take any certificate of Elasticsearch", False),
        Setting("timeout", "seconds to wait for a service", 30.0),
        Setting("color", "colour: auto, always or never", "auto"),
    )
}
_TABLES = frozenset({"metrics", "fields"})


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it came from."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """All settings in force."""

    values: Mapping[str, Value]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    tables_origin: str = PROJECT_FILE

    def __getitem__(self, name: str) -> Any:
        """The value of a setting."""
        return self.values[name].value

    def contract(self) -> Contract:
        """The contract with this team's dataset, metrics and fields. Raises `ConfigError`."""
        return _contract(self)

    def shown(self) -> list[dict[str, Any]]:
        """Every setting with its origin, secrets masked."""
        return [
            {
                "name": name,
                "value": _shown(SETTINGS[name], found.value),
                "origin": found.origin,
                "variable": SETTINGS[name].variable,
            }
            for name, found in self.values.items()
        ]


def _shown(setting: Setting, value: Any) -> Any:
    """A value without what is secret in it; an address may hold a password."""
    if value is None:
        return None
    if setting.secret:
        return MASK
    return re.sub(r"(?<=://)[^/@]*(?=@)", MASK, value) if isinstance(value, str) else value


def _contract(settings: Settings) -> Contract:
    plain = not (settings.metrics or settings.fields)
    if plain and all(settings[n] is None for n in ("dataset", "namespace", "own_metrics")):
        return load_contract()
    return extend(
        load_contract(),
        dataset=settings["dataset"],
        namespace=settings["namespace"],
        own_metrics=settings["own_metrics"],
        metrics=settings.metrics,
        fields=settings.fields,
        origin=settings.tables_origin,
    )


def user_file() -> Path:
    """Where a user keeps settings for all projects."""
    return Path(platformdirs.user_config_dir("elkkit")) / PROJECT_FILE


def project_file(start: Path | None = None) -> Path | None:
    """The nearest `elkkit.toml` in this folder or above it."""
    here = (start or Path.cwd()).absolute()
    return next((f for folder in (here, *here.parents) if (f := folder / PROJECT_FILE).is_file()), None)


def load_settings(
    flags: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Resolve every setting. `config` replaces the search for files. Raises `ConfigError`."""
    variables = os.environ if environment is None else environment
    config = config or (Path(variables["ELKKIT_CONFIG"]) if variables.get("ELKKIT_CONFIG") else None)
    paths = [config] if config else [p for p in (project_file(), user_file()) if p is not None and p.is_file()]
    read = [(str(p), _read(p)) for p in paths]
    values = {name: _find(setting, flags or {}, variables, read) for name, setting in SETTINGS.items()}
    tables: dict[str, tuple[str, Any]] = {
        t: next(((origin, d[t]) for origin, d in read if t in d), (PROJECT_FILE, {})) for t in sorted(_TABLES)
    }
    return Settings(values, tables["metrics"][1], tables["fields"][1], tables["metrics"][0])


def _find(
    setting: Setting, flags: Mapping[str, Any], variables: Mapping[str, str], read: list[tuple[str, dict[str, Any]]]
) -> Value:
    if flags.get(setting.name) is not None:
        return Value(_typed(setting, flags[setting.name], "flag"), f"--{setting.name.replace('_', '-')}")
    if variables.get(setting.variable):
        return Value(_typed(setting, variables[setting.variable], setting.variable), setting.variable)
    for origin, table in read:
        if setting.name in table:
            return Value(_typed(setting, table[setting.name], origin), origin)
    return Value(setting.default, "default")


def _typed(setting: Setting, value: Any, origin: str) -> Any:
    hint = "elkkit config show  prints every setting with its origin"
    if isinstance(setting.default, bool):
        found = {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())
        if found is None:
            raise ConfigError(
                f"{setting.name} is wrong ({origin})", why=f"{value!r} is neither true nor false", hint=hint
            )
        return found
    if isinstance(setting.default, float):
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ConfigError(f"{setting.name} is wrong ({origin})", why=f"{value!r} is no number", hint=hint) from None
    if not isinstance(value, str):
        shown = MASK if setting.secret else repr(value)
        raise ConfigError(f"{setting.name} is wrong ({origin})", why=f"{shown} is not text", hint=hint)
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise from_os_error("read the settings", path, error) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings {path}", why=str(error), hint=f"mend {path}") from None
    if unknown := sorted(set(table) - set(SETTINGS) - _TABLES):
        names = ", ".join([*SETTINGS, *sorted(_TABLES)])
        raise ConfigError(f"{path}: no such setting: {unknown[0]}", why=f"there are {names}", hint=f"mend {path}")
    if wrong := [t for t in _TABLES if not isinstance(table.get(t, {}), dict)]:
        raise ConfigError(f"{path}: {wrong[0]} is wrong", why="it must be a table", hint=f"mend {path}")
    return table
