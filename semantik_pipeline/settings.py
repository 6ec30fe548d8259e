"""Reads ``config/`` and the environment, except two groups of variables: those that plugin options name, and the few
with which a command finds its server (``server_discovery.py``).

Precedence, lowest first: defaults (``config/semantik.toml`` describes each), the file given by ``--config`` or
``SEMANTIK_CONFIG``, the environment (``SEMANTIK_<SECTION>_<NAME>``, ``SEMANTIK_DATA_DIR``), the command line.
"""

from __future__ import annotations

import os
import tomllib
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings import SettingsError as UnreadableVariable

from semantik_pipeline.errors import SettingsError
from semantik_pipeline.server_discovery import check_variables, invalid, unknown, unreadable


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Database(Section):
    url: str | None = None  # None: SQLite in the data folder


class Broker(Section):
    url: str = "memory://"
    prefix: str = Field("semantik", pattern=r"^[A-Za-z0-9_.-]+$")  # of queue names, so that fleets can share a broker
    ca_file: Path | None = None  # None: the system's authorities
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True  # whether to check the server's certificate and name
    visibility_timeout: float = Field(3600.0, gt=0)  # seconds; Redis


class Qdrant(Section):
    url: str | None = None  # None: Qdrant Edge in the data folder
    api_key_env: str | None = None


class Store(Section):
    plugin: str | None = None  # a vectordb plugin's id; None: qdrant if qdrant.url is set, else qdrant-edge
    options: dict[str, Any] = Field(default_factory=dict)
    payload_indexes: dict[str, Literal["keyword", "integer", "float", "bool", "datetime", "text"]] = Field(
        default_factory=dict  # additional point fields that the store indexes, besides those of docs/search.md
    )


class Blob(Section):
    url: str | None = None  # None: a folder in the data folder


class Plugin(Section):
    state_file: Path | None = None  # None: plugins.json in the data folder
    health_timeout: float = Field(5.0, gt=0)  # seconds


class Models(Section):
    dir: Path | None = None  # None: `models` in the data folder


class Work(Section):
    lease: float = Field(15.0, gt=0)  # seconds a claim is held without renewal
    lease_renewal: float = Field(4.0, gt=0)  # seconds between renewals
    time_slice: float = Field(
        5.0, gt=0
    )  # seconds that one source or one large document is processed at a time; a loop lasts several of them
    max_attempts: int = Field(3, ge=1)  # deaths or failures of a unit that ran alone, before quarantine
    backoff: float = Field(0.5, ge=0)  # seconds before the second attempt; doubles, capped at 5 minutes
    max_in_flight: int = Field(2000, ge=1)  # units of one source, or of one rerun, between sync and upsert
    poll: float = Field(1.0, gt=0)  # minimum seconds between maintenance ticks of an embedded run


class Worker(Section):
    profile: str = "all"  # all, gpu, cpu or search: workers/profiles.py
    processes: int = Field(0, ge=0)  # of one `semantik worker`; 0: set by the profile
    heartbeat: float = Field(5.0, gt=0)  # seconds between two reports to the ledger
    soft_shutdown: float = Field(20.0, gt=0)  # seconds to finish the units in progress; then they are released
    memory_mb: int = Field(0, ge=0)  # a process that uses more is replaced; 0: no limit
    model_memory_mb: int = Field(0, ge=0)  # for all models of a process; 0: 80 % of the GPU's memory, if it has a GPU
    gpu_sharers: int = Field(1, ge=1)  # set by `semantik worker`: how many of its processes share this one's GPU
    supervisor_pipe: int | None = None  # set by `semantik worker`, which receives reports of its processes through it


class Metrics(Section):
    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)  # of /metrics, /live and /ready; 0: not served


class Logs(Section):
    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Trace(Section):
    sample_ratio: float = Field(0.0, ge=0, le=1)  # of documents whose stages are traced to OTEL_EXPORTER_OTLP_ENDPOINT


class Child(Section):
    processes: int = Field(0, ge=0)  # 0: one less than there are cores
    memory_mb: int = Field(2048, ge=64)  # in addition to what an idle child needs
    parse_deadline: float = Field(10.0, gt=0)  # seconds for parsing and chunking one document, plus `per_mb`
    extract_deadline: float = Field(30.0, gt=0)  # seconds for extracting one batch of chunks
    deadline_per_mb: float = Field(4.0, ge=0)  # seconds added for each megabyte of the document
    max_bytes: int = Field(200_000_000, ge=1)  # larger documents are quarantined without being read
    max_text_bytes: int = Field(50_000_000, ge=1)  # so are larger texts, because every byte of a text is chunked

    def deadline_of(self, size: int) -> float:
        """Return the seconds for parsing and chunking documents of ``size`` bytes in total."""
        return self.parse_deadline + self.deadline_per_mb * size / 1e6


class Embed(Section):
    pool_chunks: int = Field(256, ge=1)  # chunks in one claim
    batch_size: int = Field(32, ge=1)
    progress_timeout: float = Field(300.0, gt=0)  # seconds a pool may take without saving anything


class Upsert(Section):
    batch_size: int = Field(256, ge=1)
    progress_timeout: float = Field(300.0, gt=0)  # seconds for one call of the store, whose own timeout is 2 minutes


class Sync(Section):
    batch_size: int = Field(200, ge=1)  # references compared with the ledger in one query
    progress_timeout: float = Field(300.0, gt=0)  # seconds a slice may take without saving anything
    deletion_guard_share: float = Field(0.5, ge=0, le=1)  # a full enumeration that lost more than this share ...
    deletion_guard_count: int = Field(50, ge=0)  # ... and more than this many documents pauses the source and asks


#: How the results of the two legs are combined.
Fusion = Literal["minmax", "rrf", "dbsf"]


class Search(Section):
    dense_weight: float = Field(0.6, ge=0, le=1)
    fusion: Fusion = "minmax"
    rerank_weight: float = Field(0.3, ge=0, le=1)
    rerank_deadline: float = Field(0.5, gt=0)  # seconds, for all rerankers together
    reranker: str | list[str] = "relevance-feedback"  # one, or several that run in order
    postprocessors: list[str | dict[str, Any]] = Field(
        ["highlight"], max_length=8
    )  # in order; ids, or {plugin, options}
    postprocess_deadline: float = Field(2.0, gt=0)  # seconds for all of them
    spelling_correction: bool = True  # typing errors in queries are corrected to words of the collection
    execution: Literal["local", "workers"] = "local"  # queries run in the process that receives them, or on workers
    worker_timeout: float = Field(10.0, gt=0)  # seconds to wait for a search worker

    @property
    def rerankers(self) -> list[str]:
        """The ids in ``reranker``, in order."""
        return [self.reranker] if isinstance(self.reranker, str) else self.reranker


class Reindex(Section):
    rollback_window: float = Field(86400.0, ge=0)  # seconds for which the previous generation is kept and written to
    probes: int = Field(200, ge=0)  # chunks of a new generation that must find themselves before the switch
    probe_recall: float = Field(0.95, ge=0, le=1)  # of the probes, within the first ten hits
    catch_up_timeout: float = Field(300.0, ge=0)  # seconds to wait for late arrivals; others follow the switch


class Api(Section):
    host: str = "127.0.0.1"  # where `semantik serve` listens
    port: int = Field(8642, ge=0, le=65535)  # 0: any free port
    threads: int = Field(40, ge=1)  # maximum number of requests at the same time, and of searches
    max_body_mb: int = Field(16, ge=1)  # of a request
    max_upload_mb: int = Field(256, ge=1)  # of an upload of files
    concurrent_uploads: int = Field(4, ge=1)  # bodies of more than a megabyte received at the same time
    rate: str = "200/second"  # requests of one caller; "": no limit
    unauthenticated_rate: str = "60/minute"  # requests of one address without a valid key; "": no limit
    cors_origins: list[str] = Field(default_factory=list)  # origins of web pages that may call the API
    public_metrics: bool = False  # /metrics without a key
    auth: list[str] = Field(default_factory=list)  # auth plugins, asked in order about callers without an API key
    auth_deadline: float = Field(2.0, gt=0)  # seconds for each of them


class Schedule(Section):
    tick: float = Field(5.0, gt=0)  # seconds between the ticks of `semantik scheduler`
    timezone: str = "UTC"  # of cron expressions without a time zone


class Retention(Section):
    trash_days: float = Field(7.0, ge=0)  # how long deleted items can be restored; 0: they are purged at once
    cache_days: float = Field(1.0, ge=0)  # unreferenced extractions and embeddings younger than this are kept
    blobs_days: float = Field(1.0, ge=0)  # the same for unreferenced raw and parsed bodies
    operations_days: float = Field(30.0, ge=0)  # finished operations and their items
    audit_days: float = Field(90.0, ge=0)  # entries of the audit trail
    workers_hours: float = Field(24.0, ge=0)  # workers that have stopped or died


class Settings(BaseSettings):
    """All settings. The comments on fields are short forms of the descriptions in ``config/semantik.toml``."""

    model_config = SettingsConfigDict(
        env_prefix="SEMANTIK_", env_nested_delimiter="_", env_nested_max_split=1, env_ignore_empty=True,
        extra="ignore", frozen=True,
    )  # fmt: skip

    data_dir: Path = Field(default_factory=lambda: Path(platformdirs.user_data_dir("semantik", appauthor=False)))
    database: Database = Database()
    broker: Broker = Broker()
    qdrant: Qdrant = Qdrant()
    store: Store = Store()
    blob: Blob = Blob()
    plugin: Plugin = Plugin()
    models: Models = Models()
    work: Work = Work()
    worker: Worker = Worker()
    metrics: Metrics = Metrics()
    logs: Logs = Logs()
    trace: Trace = Trace()
    child: Child = Child()
    embed: Embed = Embed()
    upsert: Upsert = Upsert()
    sync: Sync = Sync()
    search: Search = Search()
    reindex: Reindex = Reindex()
    api: Api = Api()
    schedule: Schedule = Schedule()
    retention: Retention = Retention()
    collection: dict[str, Any] = Field(default_factory=dict)  # defaults of new collections, see collections.py

    @classmethod
    def settings_customise_sources(
        cls, settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
    ):
        """Explicit values override the environment, which overrides the file."""
        env_settings.env_vars.pop("semantik_api_key", None)  # not a setting: a command's key for a server
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.data_dir / 'ledger.sqlite3'}"

    @property
    def blob_url(self) -> str:
        return self.blob.url or str(self.data_dir / "blobs")

    @property
    def index_dir(self) -> Path:
        return self.data_dir / "index"

    @property
    def state_file(self) -> Path:
        return self.plugin.state_file or self.data_dir / "plugins.json"

    @property
    def models_dir(self) -> Path:
        """The folder where `semantik models pull` stores models, and where plugins look for them first."""
        return (self.models.dir or self.data_dir / "models").expanduser().absolute()

    @property
    def offered(self) -> dict[str, Any]:
        """Options that this process sets for every plugin that declares them."""
        return {"models_dir": str(self.models_dir)}

    @property
    def fleet(self) -> bool:
        """Whether separate worker processes do the work: broker, ledger and store are all shared. If not, each command
        works in its own process, with any servers that are configured."""
        return self.shared_broker and self.shared_ledger and self.shared_store

    @property
    def shared_broker(self) -> bool:
        """Whether the broker can ring other processes."""
        return not self.broker.url.startswith("memory://")

    @property
    def shared_ledger(self) -> bool:
        """Whether processes on several hosts can share the ledger."""
        return self.database.url is not None and not self.database.url.startswith("sqlite")

    @property
    def shared_store(self) -> bool:
        """Whether several processes can share the store; Qdrant Edge belongs to one process."""
        if self.store.plugin is not None:
            return self.store.plugin != "qdrant-edge"
        return self.qdrant.url is not None

    def require_shared(self) -> None:
        """Raise SettingsError, which names what to set, unless a fleet could share broker, ledger and store."""
        needs = (
            (self.shared_broker, "SEMANTIK_BROKER_URL"),
            (self.shared_ledger, "SEMANTIK_DATABASE_URL"),
            (self.shared_store, "SEMANTIK_QDRANT_URL"),
        )
        missing = [name for there, name in needs if not there]
        if missing:
            told = "none is configured" if len(missing) == len(needs) else "only part of one is configured"
            names = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[:-1] else missing)
            raise SettingsError(
                f"`semantik worker` needs a fleet, and {told}.", f"Set {names}. On one machine use `semantik serve`."
            )


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as in ``CUDA_VISIBLE_DEVICES``; loads no GPU library."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = (name.strip() for name in visible.split(","))
        return list(takewhile(lambda name: name not in ("", "-1"), names))  # CUDA also stops at the first invalid name
    return [str(index) for index, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def load_settings(config: Path | str | None = None, **explicit: Any) -> Settings:
    """Read the settings. ``explicit`` values (``data_dir=``) override everything; None means not given.

    Raises SettingsError, which names the file, the setting and the expected value.
    """
    path = config or os.environ.get("SEMANTIK_CONFIG") or None
    explicit = {name: value for name, value in explicit.items() if value is not None}
    older = os.environ.get("PLUGIN_STATE_FILE")
    if path is not None:
        _check_file(Path(path))
    check_variables(Settings.model_fields)

    class Configured(Settings):
        model_config = SettingsConfigDict(toml_file=path)

    try:
        settings = Configured(**explicit)
    except ValidationError as error:
        raise invalid(error.errors()[0], path, Settings.model_fields) from None
    except UnreadableVariable:
        raise unreadable(Settings.model_fields) from None
    if older and settings.plugin.state_file is None:
        plugin = settings.plugin.model_copy(update={"state_file": Path(older)})
        settings = settings.model_copy(update={"plugin": plugin})
    return settings.model_copy(update={"data_dir": settings.data_dir.expanduser().absolute()})


def _check_file(path: Path) -> None:
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"The settings file {path} can't be read: {error.strerror}.", "Check --config.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {path} is not valid TOML: {error}.") from None
    for name in sorted(set(content) - set(Settings.model_fields)):
        raise unknown(name, path, Settings.model_fields)
