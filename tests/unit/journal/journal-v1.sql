CREATE TABLE environments (
    environment_id TEXT PRIMARY KEY,
    incarnation INTEGER NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO environments VALUES('env_bsprvdx2t7',2,'{"version":1,"environment":{"environment_id":"env_bsprvdx2t7","incarnation":2,"state":"ready","spec":{"source_path":"/srv/repos/demo","target_path":"/srv/bb/data/worktrees/env_bsprvdx2t7/demo","branch_name":"bb/topic","base_branch":null,"setup_timeout_ms":900000,"type":"ManagedWorktreeSpec"},"changed_at":1795404877139,"cause":null,"created_workspace":true,"files_remain":false,"detail":""}}');
INSERT INTO environments VALUES('env_hpe4zt6kbd',1,'{"version":1,"environment":{"environment_id":"env_hpe4zt6kbd","incarnation":1,"state":"tombstoned","spec":{"path":"/srv/repos/plain","checkout":{"name":"topic","base_branch":"main","type":"NewBranchCheckout"},"type":"UnmanagedSpec"},"changed_at":1795404877139,"cause":"retire","created_workspace":false,"files_remain":true,"detail":"not listed by the server"}}');
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY,
    command_id TEXT NOT NULL UNIQUE,
    cursor INTEGER NOT NULL,
    payload TEXT NOT NULL
);
INSERT INTO inbox VALUES(1,'hcmd_2',2,'{"id":"hcmd_2","cursor":2,"command":{"type":"host.list_manager_templates"}}');
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    command_id TEXT NOT NULL UNIQUE,
    report TEXT NOT NULL
);
INSERT INTO outbox VALUES(4,'hcmd_1','{"commandId":"hcmd_1"}');
CREATE TABLE settled (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    command_id TEXT NOT NULL UNIQUE
);
INSERT INTO settled VALUES(4,'hcmd_1');
CREATE TABLE spool (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    producer_event_id TEXT NOT NULL UNIQUE,
    thread_id TEXT NOT NULL,
    event TEXT NOT NULL
);
INSERT INTO spool VALUES(9,'hdevt_3fmdnqpcftimv73yv9cw','thr_9taufh73yq','{"type":"thread/started"}');
CREATE TABLE processes (
    pid INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    environment_id TEXT NOT NULL,
    incarnation INTEGER NOT NULL,
    command TEXT NOT NULL,
    PRIMARY KEY (pid, start_time)
) WITHOUT ROWID;
CREATE TABLE facts (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
