"""Every metric of a worker, once. Prometheus adds ``_total`` to counters."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, Info

# Packets by what became of them: detection, rejected, duplicate. Their sum is what came in.
PACKETS = Counter("protonova_worker_packets", "Packets by outcome, delivered and acknowledged", ["survey", "outcome"])
# Rejected packets by error class: a jump of one class is a schema that changed.
REJECTED = Counter("protonova_worker_rejected", "Rejected packets by error class", ["survey", "error_class"])
# How full micro-batches are: near 1 the worker idles, near batch_size it is behind.
BATCH = Histogram("protonova_worker_batch_packets", "Packets of a micro-batch", buckets=(1, 2, 4, 8, 16, 32, 48, 64, 128, 256))
# Time in the pure function.
COMPUTE = Histogram(
    "protonova_worker_compute_seconds", "Scoring of a micro-batch", buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
)
# From the input's append time to the broker's acknowledgement of the output.
LATENCY = Histogram(
    "protonova_worker_latency_seconds",
    "From the input's append time to its output's acknowledgement",
    buckets=(0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 10, 60, 600),
)
# How new the detections look: a shift is a new class, or an input that broke without being rejected.
NOVELTY = Histogram(
    "protonova_worker_novelty",
    "Novelty of the detections, 0 known, 1 new",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1),
)
# Packets of a partition that this worker holds and has not committed.
LAG = Gauge("protonova_worker_lag_packets", "Packets not yet committed, of the partitions this worker holds", ["topic", "partition"])
# Records that no client could read, by why: a damaged disk or wire, or a broken producer. Passed over and rejected.
UNREADABLE = Counter("protonova_unreadable_records", "Records that cannot be read, passed over", ["topic", "error_class"])
# Batches that arrived damaged and were asked for once more: the wire, if they then are whole.
FETCHED_AGAIN = Counter("protonova_batches_fetched_again", "Record batches that arrived damaged and were fetched again", ["topic"])
# Whether the worker waits for a server outside of the flow: nothing is rejected or acknowledged meanwhile.
WAITING = Gauge("protonova_worker_waiting", "1 while the worker waits for the schema registry")
# Which state scores.
SCORING = Info("protonova_worker_scoring", "What the scores depend on: scoring_id, model, engine")
# How often another state took over: after each, scores may differ for a reason.
SWAPS = Counter("protonova_worker_swaps", "How often another state took over from the next batch on")
# Classes taught beside those of the model, in force.
TAUGHT = Gauge("protonova_worker_taught_classes", "Classes taught beside those of the model, in force")
# Bundles that were announced and are not used: damaged, of another format, or another answer to the golden batch.
REFUSED_BUNDLES = Counter("protonova_worker_refused_bundles", "Announced bundles that are not used")
# Increments by what became of them: joined (its packet is on alerts.tess), duplicate (nothing new in it), rejected. Their sum came in.
INCREMENTS = Counter("protonova_increments", "Increments by outcome, committed", ["outcome"])
# Increments that left the topic before they were joined: the joiner stood still for longer than the topic keeps them.
INCREMENTS_LOST = Counter("protonova_increments_lost", "Increments that left the topic before they were joined")
# Increments that are not joined yet.
INCREMENTS_LAG = Gauge("protonova_increments_lag", "Increments not yet joined")
# Light curves so far, and the room they take: near increments_store_gb joining is about to stop.
CURVES_STORED = Gauge("protonova_increments_store_bytes", "Size of the light curves so far")
# Records of the work on raw frames by stage (calibrator, differencer) and outcome: calibrated, differenced, rejected. Their sum came in.
FRAMES = Counter("protonova_frames", "Raw and calibrated frames by stage and outcome, committed", ["stage", "outcome"])
# Rejected frames by error class: no_master waits for a master, a jump of bad_frame is a camera or a writer that changed.
FRAMES_REJECTED = Counter("protonova_frames_rejected", "Rejected frames by stage and error class", ["stage", "error_class"])
# Frames that left the topic before they were worked on: the process stood still for longer than the topic keeps them.
FRAMES_LOST = Counter("protonova_frames_lost", "Frames that left the topic before they were worked on", ["stage"])
# Frames that wait.
FRAMES_LAG = Gauge("protonova_frames_lag", "Frames not yet worked on", ["stage"])
# Whether a stage waits for a store, a disk or a mount: nothing is rejected or committed meanwhile.
FRAMES_WAITING = Gauge("protonova_frames_waiting", "1 while a stage waits for a store", ["stage"])
# Time of one frame, reading and waiting for its store included.
FRAME_SECONDS = Histogram(
    "protonova_frame_seconds", "Work on one frame", ["stage"], buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 30, 120)
)
# Alerts made of frames.
FRAME_ALERTS = Counter("protonova_frame_alerts", "Packets on alerts.frames made of frames")
# What the differencer remembers: positions, measurements of them, frames.
PHOTOMETRY_KEPT = Gauge("protonova_photometry_kept", "What the differencer keeps in memory", ["what"])
# Rows of the history by kind: new, again (detections of packets that were there), rejected, embeddings.
HISTORY_ROWS = Counter("protonova_history_rows", "Rows written to the history", ["kind"])
# Records that left their topics before they came into the history: the historian stood still for longer than they are kept.
HISTORY_LOST = Counter("protonova_history_lost", "Records that left their topics before they came into the history")
# Detections and rejected packets that are not in the history yet.
HISTORY_LAG = Gauge("protonova_history_lag", "Detections and rejected packets not yet in the history")
# Room that the history takes.
HISTORY_BYTES = Gauge("protonova_history_bytes", "Size of the history")
# Users' filters that are asked.
FILTERS = Gauge("protonova_filters", "Users' filters that are asked")
# Matches that were sent to filters' topics.
FILTER_MATCHES = Counter("protonova_filter_matches", "Matches of users' filters")
# Detections that filters were not asked of yet.
FILTER_LAG = Gauge("protonova_filter_lag", "Detections that filters were not asked of yet")
# Posts of matches by what became of them: delivered, tried again, left out.
WEBHOOKS = Counter("protonova_webhooks", "Posts of matches", ["outcome"])
