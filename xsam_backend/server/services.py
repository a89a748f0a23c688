"""Everything that the service is made of, put together once per process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import Engine as DatabaseEngine

from xsam_backend.config import Settings
from xsam_backend.errors import BusyError, CheckpointError, StoreError
from xsam_backend.inference.deployed import Deployed
from xsam_backend.inference.disk_tier import DiskTier
from xsam_backend.inference.engine import Engine, Predictor
from xsam_backend.inference.picture_memory import Budget, PictureMemory
from xsam_backend.labelstudio.images import ImageSource
from xsam_backend.labelstudio.recent_images import RecentImages
from xsam_backend.learning.collecting import Collector
from xsam_backend.learning.picture_copies import PictureCopies
from xsam_backend.learning.version_files import VersionFiles
from xsam_backend.learning.wishes import Schedule, Wishes
from xsam_backend.server.ahead import Ahead
from xsam_backend.server.auth import BasicAuth, WebhookSecrets, webhook_root
from xsam_backend.server.backend import Backend
from xsam_backend.server.backlog_numbers import BacklogNumbers, Count, late_events
from xsam_backend.server.batch_shares import BatchShares
from xsam_backend.server.bulk_worker import BulkWorker
from xsam_backend.server.collecting_thread import CollectingThread
from xsam_backend.server.folder_use import FolderUse
from xsam_backend.server.health import Health, database_need, disk_need
from xsam_backend.server.housekeeping import Housekeeping
from xsam_backend.server.label_studio_watch import LabelStudioWatch
from xsam_backend.server.late_log import LateLog
from xsam_backend.server.monitor import Monitor
from xsam_backend.server.outside import fetch_policy, label_studio_client
from xsam_backend.server.own_numbers import OwnNumbers
from xsam_backend.server.project_exemplars import ProjectExemplars
from xsam_backend.server.rate_limits import GuardedLogin
from xsam_backend.server.recently import Recently
from xsam_backend.server.version_watch import VersionWatch
from xsam_backend.server.webhooks import WebhookGuard, WebhookReceiver
from xsam_backend.server.worker_process import WorkerKeeper, spawn_worker
from xsam_backend.store.annotations import Annotations
from xsam_backend.store.bulk_progress import Progress
from xsam_backend.store.bulk_tasks import BulkTasks
from xsam_backend.store.data_folder import Hold
from xsam_backend.store.database import database_url, open_database
from xsam_backend.store.inbox import Inbox
from xsam_backend.store.inbox_reading import InboxReader
from xsam_backend.store.jobs import PROJECT_GONE, Job, Jobs
from xsam_backend.store.picture_files import PictureFiles
from xsam_backend.store.pre_labels import PreLabels
from xsam_backend.store.predictions import PredictionLog
from xsam_backend.store.projects import ProjectKey, Projects
from xsam_backend.store.shared_files import shared_files
from xsam_backend.store.tasks import Tasks
from xsam_backend.store.versions import Versions

LOG_WAIT_MS = 300
"""An annotator who clicked waits so long for the prediction log; then it's written behind their back."""


@dataclass(frozen=True)
class Counts:
    """What pages say of whole tables."""

    events: Recently[dict[str, int]]
    regions: Recently[dict[str, int]]
    annotations: Recently[dict[str, dict[str, int]]]
    lacking: Recently[int]
    bulk: Recently[list[Progress]]


@dataclass(frozen=True)
class Services:
    """The parts that endpoints use."""

    settings: Settings
    monitor: Monitor
    login: GuardedLogin
    engine: Engine
    backend: Backend
    inbox: Inbox
    projects: Projects
    predictions: PredictionLog
    counts: Counts
    pre_labels: PreLabels
    webhooks: WebhookReceiver
    webhook_guard: WebhookGuard | None
    housekeeping: Housekeeping
    late_log: LateLog
    annotations: Annotations
    tasks: Tasks
    pictures: PictureFiles
    collecting: CollectingThread
    jobs: Jobs
    worker: WorkerKeeper
    bulk_tasks: BulkTasks
    bulk_worker: BulkWorker | None
    ahead: Ahead | None
    versions: Versions
    version_files: VersionFiles
    deployed: Deployed
    version_watch: VersionWatch
    label_studio_watch: LabelStudioWatch | None
    prediction_slots: threading.BoundedSemaphore
    batch_slots: threading.BoundedSemaphore
    databases: tuple[DatabaseEngine, ...]
    hold: Hold | None
    health: Health
    folder_use: FolderUse | None

    def prediction_slot(self) -> AbstractContextManager[None]:
        """Hold one of the threads that predictions may occupy. Raises BusyError if none is free."""
        return _hold(self.prediction_slots, f"{self.settings.prediction_slots} predictions")

    def batch_slot(self) -> AbstractContextManager[None]:
        """Hold one of the places that batches may occupy. Raises BusyError if none is free."""
        return _hold(self.batch_slots, f"{self.settings.batch_slots} batches")

    def close(self) -> None:
        """Stop the background threads and close the databases."""
        self.health.close()
        for thread in (self.label_studio_watch, self.ahead, self.bulk_worker, self.webhook_guard):
            if thread is not None:
                thread.close()
        self.worker.close()
        self.collecting.close()
        self.version_watch.close()
        self.housekeeping.close()
        self.late_log.close()
        for database in self.databases:
            database.dispose()
        if self.hold is not None:
            self.hold.close()
        if self.folder_use is not None:
            self.folder_use.close()


@contextmanager
def _hold(slots: threading.BoundedSemaphore, what: str) -> Iterator[None]:
    if not slots.acquire(blocking=False):
        raise BusyError(
            f"{what} are under way, which is all this service takes on: try again later, or raise threads"
        )
    try:
        yield
    finally:
        slots.release()


def _load_version(base: Predictor[Any], files: VersionFiles, name: str) -> Predictor[Any]:
    from xsam_backend.model.predictor import Predictor as XSamPredictor
    from xsam_backend.model.versions import predictor_with_delta

    if not isinstance(base, XSamPredictor):
        raise CheckpointError(f"version '{name}': the model that runs ({base.model_version}) can't be changed")
    return predictor_with_delta(base, files.delta(name), name)


def _picture_memory(settings: Settings, predictor: Predictor[Any], housekeeping: Housekeeping) -> PictureMemory:
    budget = Budget(
        *(mb * 2**20 for mb in (settings.encoder_cache_mb, settings.image_cache_mb, settings.prefix_cache_mb))
    )
    if not settings.disk_cache_mb:
        return PictureMemory(budget)
    from xsam_backend.model.packed_outputs import pack, unpack
    from xsam_backend.model.predictor import Predictor as XSamPredictor

    if not isinstance(predictor, XSamPredictor):
        raise CheckpointError(f"disk_cache_mb: the model that runs ({predictor.model_version}) has no such outputs")

    disk = DiskTier(
        settings.encoded_dir,
        settings.disk_cache_mb * 2**20,
        pack,
        partial(unpack, dtype=predictor.model.dtype),
        lambda write: housekeeping.later("keeping encoded pictures", write),
    )
    return PictureMemory(budget, disk)


def open_services(
    settings: Settings, predictor: Predictor[Any] | None = None, images: ImageSource | None = None
) -> Services:
    """Put everything together: databases first, so that a wrong folder shows before minutes of loading weights.

    Raises:
        SettingsError, StoreError, CheckpointError: something cannot work; says what to change.
    """
    hold = None if settings.shared_database_url else Hold(settings.data_dir)
    try:
        return _open(settings, predictor, images, hold)
    except BaseException:
        if hold is not None:
            hold.close()
        raise


def _open(
    settings: Settings, predictor: Predictor[Any] | None, images: ImageSource | None, hold: Hold | None
) -> Services:
    schedule = Schedule(settings.train_schedule) if settings.train_schedule else None
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)  # also where all databases are elsewhere
    except OSError as error:
        raise StoreError(f"cannot make {settings.data_dir}: {error}; set data_dir to a folder that may be") from error
    folder_use = FolderUse(settings.data_dir) if settings.shared_database_url is None else None
    inbox_database = open_database(database_url("inbox", settings.data_dir, settings.shared_database_url), "inbox")
    store_database = open_database(database_url("store", settings.data_dir, settings.shared_database_url), "store")
    log_database = open_database(
        database_url("store", settings.data_dir, settings.shared_database_url), "store", busy_ms=LOG_WAIT_MS
    )
    secrets = WebhookSecrets(webhook_root(settings, store_database))
    shared = shared_files(settings.artefacts_url)
    if shared is not None:
        shared.try_out()
    client = label_studio_client(settings)
    images = images or ImageSource(fetch_policy(settings), client)
    if predictor is None:
        from xsam_backend.model.predictor import load_predictor  # torch takes seconds to import

        predictor = load_predictor(
            settings.model, settings.device, settings.dtype, settings.models_dir, compiled=settings.compile
        )

    monitor = Monitor()
    housekeeping = Housekeeping(monitor)
    versions, version_files = Versions(store_database), VersionFiles(settings.versions_dir, shared)
    deployed = Deployed(
        predictor,
        partial(_load_version, predictor, version_files),
        versions.deployed,
        lambda error, project: monitor.note(
            type(error).__name__, f"project {project}" if project else "versions", str(error)
        ),
    )
    engine = Engine(
        predictor,
        _picture_memory(settings, predictor, housekeeping),
        wait_limit_s=settings.wait_limit_s,
        observe=lambda stage, seconds: monitor.stage_seconds.labels(stage).observe(seconds),
        predictor_of=deployed.predictor_of,
    )
    monitor.watch(engine)
    version_watch = VersionWatch(deployed, monitor)
    version_watch.start()
    inbox, projects, predictions = Inbox(inbox_database), Projects(store_database), PredictionLog(store_database)
    annotations, tasks = Annotations(store_database), Tasks(store_database)
    pictures = PictureFiles(settings.pictures_dir, shared)
    jobs, bulk_tasks = Jobs(store_database, settings.train_tries), BulkTasks(store_database)

    def project_gone(key: str) -> None:
        jobs.cancel_all(key, PROJECT_GONE)
        bulk_tasks.end_project(key, "dropped", PROJECT_GONE)

    collecting = CollectingThread(
        Collector(projects, tasks, annotations, predictions, settings.instance),
        InboxReader(inbox, store_database, "collecting"),
        PictureCopies(tasks, pictures, images),
        projects,
        client,
        monitor,
        settings.instance,
        on_gone=project_gone,
        sync_every=timedelta(hours=settings.sync_hours) if settings.sync_hours else None,
    )
    collecting.start()
    monitor.watch_jobs(jobs)
    monitor.watch_bulk_tasks(bulk_tasks)
    worker = WorkerKeeper(
        jobs,
        Wishes(jobs, settings.train_every, schedule),
        settings.jobs_dir,
        monitor,
        (lambda: spawn_worker(settings)) if settings.train_worker else None,
    )
    worker.start()

    late_log = LateLog(predictions, monitor)
    late_log.start()

    def start_training(key: ProjectKey) -> Job:
        job, _ = jobs.queue(str(key), "button")
        worker.wake()
        return job

    recent = RecentImages(images, settings.picture_cache_mb * 2**20)
    ahead = None
    if client is not None and settings.ahead_tasks:
        ahead = Ahead(client, recent, engine, monitor, settings.ahead_tasks)
        ahead.start()
    backend = Backend(
        engine,
        recent,
        PredictionLog(log_database),
        PreLabels(log_database),
        monitor,
        settings.instance,
        BatchShares(
            bulk_tasks if client else None,
            projects,
            monitor,
            settings.batch_limit_s,
            lambda: bulk_worker.wake() if bulk_worker else None,
        ),
        ProjectExemplars(annotations, tasks, pictures, engine, fetch_policy(settings).max_pixels, monitor.problem),
        late_log.keep,
        *([ahead.somebody_is_at] if ahead else []),
    )
    bulk_worker = None
    if client is not None:
        bulk_worker = BulkWorker(
            bulk_tasks,
            backend.prelabel,
            client,
            deployed.predictor_of,
            deployed.predictor_named,
            monitor,
            settings.instance,
        )
        if folder_use is not None and folder_use.is_alone:
            bulk_tasks.recover()
        bulk_worker.start()
    if folder_use is not None:
        folder_use.share()

    webhook_guard = WebhookGuard(client, secrets, monitor) if client else None
    if webhook_guard is not None:
        webhook_guard.start()
    lacking = Recently(tasks.count_lacking)
    backlog: dict[str, Count] = {
        "xsam_backend_events_unread": partial(late_events, inbox_database, store_database, "collecting"),
        "xsam_backend_tasks_lacking_pictures": lacking,
    }
    label_studio_watch = None
    if client is not None:
        label_studio_watch = LabelStudioWatch(client.whoami, monitor)
        label_studio_watch.start()
        backlog["xsam_backend_label_studio_reachable"] = partial(getattr, label_studio_watch, "is_reachable")
    monitor.watch_itself(BacklogNumbers(backlog))

    threads: dict[str, Any] = {
        "webhooks": webhook_guard,
        "prediction log": late_log,
        "collecting": collecting,
        "jobs": worker,
        "versions": version_watch,
        "ahead": ahead,
        "bulk": bulk_worker,
        "Label Studio": label_studio_watch,
    }
    health = Health(
        {
            "inbox": database_need(inbox_database),
            "store": database_need(store_database),
            "disk": disk_need(settings.data_dir),
        },
        {name: partial(getattr, thread, "is_running") for name, thread in threads.items() if thread is not None},
        lambda: engine.stage_s,
    )
    health.start()
    monitor.watch_itself(
        OwnNumbers(
            predictor.model_version,
            lambda: deployed.versions,
            settings.data_dir,
            health,
            str(getattr(getattr(predictor, "model", None), "device", "")),
        )
    )

    return Services(
        settings=settings,
        monitor=monitor,
        login=GuardedLogin(
            BasicAuth(
                settings.basic_auth_user,
                settings.basic_auth_password.get_secret_value() if settings.basic_auth_password else None,
            ),
            settings.failed_logins_per_minute,
        ),
        engine=engine,
        backend=backend,
        inbox=inbox,
        projects=projects,
        predictions=predictions,
        counts=Counts(
            Recently(lambda: inbox.count()),
            Recently(lambda: predictions.count()),
            Recently(lambda: annotations.count()),
            lacking,
            Recently(lambda: bulk_tasks.progress()),
        ),
        pre_labels=PreLabels(store_database),
        webhooks=WebhookReceiver(
            inbox,
            projects,
            secrets,
            settings.instance,
            monitor,
            on_event=collecting.wake,
            on_missed=collecting.missed,
            on_start_training=start_training,
        ),
        webhook_guard=webhook_guard,
        housekeeping=housekeeping,
        late_log=late_log,
        annotations=annotations,
        tasks=tasks,
        pictures=pictures,
        collecting=collecting,
        jobs=jobs,
        worker=worker,
        bulk_tasks=bulk_tasks,
        bulk_worker=bulk_worker,
        ahead=ahead,
        versions=versions,
        version_files=version_files,
        deployed=deployed,
        version_watch=version_watch,
        label_studio_watch=label_studio_watch,
        prediction_slots=threading.BoundedSemaphore(settings.prediction_slots),
        batch_slots=threading.BoundedSemaphore(settings.batch_slots),
        databases=(inbox_database, store_database, log_database),
        hold=hold,
        health=health,
        folder_use=folder_use,
    )
