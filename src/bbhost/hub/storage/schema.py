"""The tables, as a list of upgrades: entry n takes a file from format n to format n + 1."""

_FIRST = """
CREATE TABLE hosts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    data_dir TEXT,
    last_instance_id TEXT,
    last_seen_at INTEGER,
    last_cursor INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE TABLE enroll_keys (
    key_hash TEXT PRIMARY KEY,
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    host_type TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    spent INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE host_keys (
    key_hash TEXT PRIMARY KEY,
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    disabled INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE commands (
    id TEXT PRIMARY KEY,
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    cursor INTEGER NOT NULL,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    created_at INTEGER NOT NULL,
    fetched_at INTEGER,
    retry_count INTEGER NOT NULL DEFAULT 0,
    settled_at INTEGER,
    outcome TEXT
) STRICT;
CREATE INDEX commands_pending ON commands(host_id, state, cursor);
CREATE INDEX commands_fetched ON commands(state, fetched_at);
CREATE INDEX commands_settled ON commands(settled_at);
CREATE TABLE environments (
    id TEXT PRIMARY KEY,
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    spec TEXT NOT NULL,
    workspace_path TEXT NOT NULL,
    discovered TEXT,
    provisioning_id TEXT NOT NULL,
    progress_thread_id TEXT NOT NULL,
    error_code TEXT,
    error_message TEXT,
    destroy_attempts INTEGER NOT NULL DEFAULT 0,
    destroy_again_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX environments_by_host ON environments(host_id, state);
CREATE INDEX environments_by_progress ON environments(progress_thread_id);
CREATE INDEX environments_to_retry ON environments(destroy_again_at)
    WHERE destroy_again_at IS NOT NULL;
CREATE TABLE transcript_entries (
    environment_id TEXT NOT NULL REFERENCES environments(id) ON DELETE CASCADE,
    provisioning_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (environment_id, provisioning_id, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE threads (
    id TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL REFERENCES environments(id) ON DELETE CASCADE,
    host_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    title TEXT,
    state TEXT NOT NULL,
    provider_thread_id TEXT,
    active_turn_id TEXT,
    stop_requested INTEGER NOT NULL DEFAULT 0,
    archived INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    last_interruption TEXT,
    error_code TEXT,
    error_message TEXT,
    execution TEXT NOT NULL,
    context TEXT NOT NULL,
    first_request TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX threads_by_environment ON threads(environment_id);
CREATE INDEX threads_by_host ON threads(host_id, deleted);
CREATE TABLE events (
    thread_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    producer_event_id TEXT UNIQUE,
    payload_hash TEXT,
    type TEXT NOT NULL,
    turn_id TEXT,
    event TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (thread_id, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_of_turns ON events(thread_id, type, turn_id) WHERE type = 'turn/started';
CREATE TABLE interactions (
    id TEXT PRIMARY KEY,
    thread_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    provider_id TEXT NOT NULL,
    provider_thread_id TEXT NOT NULL,
    provider_request_id TEXT NOT NULL,
    session_id TEXT NOT NULL,
    status TEXT NOT NULL,
    payload TEXT NOT NULL,
    resolution TEXT,
    reason TEXT,
    command_id TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (thread_id, provider_id, provider_thread_id, provider_request_id)
) STRICT;
CREATE INDEX interactions_by_session ON interactions(session_id, status);
CREATE INDEX interactions_by_command ON interactions(command_id) WHERE command_id IS NOT NULL;
CREATE TABLE app_data (
    thread_id TEXT NOT NULL,
    app_id TEXT NOT NULL,
    path TEXT NOT NULL,
    value TEXT NOT NULL,
    version TEXT,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (thread_id, app_id, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE attachments (
    id TEXT PRIMARY KEY,
    project_id TEXT NOT NULL,
    name TEXT NOT NULL,
    mime_type TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
"""

UPGRADES: tuple[str, ...] = (_FIRST,)
SCHEMA_VERSION = len(UPGRADES)
