BEGIN TRANSACTION;
CREATE TABLE alembic_version_inbox (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_inbox_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version_inbox" VALUES('inbox_0001');
CREATE TABLE inbox_events (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	content_key VARCHAR(64) NOT NULL, 
	action VARCHAR(64) NOT NULL, 
	project_key VARCHAR(255), 
	verified BOOLEAN NOT NULL, 
	body TEXT NOT NULL, 
	received_at DATETIME NOT NULL, 
	UNIQUE (content_key)
);
INSERT INTO "inbox_events" VALUES(7,'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa','TASKS_CREATED','here/1.2',1,'{"action": "TASKS_CREATED", "tasks": [{"id": 1}]}','2026-01-02 03:04:05.000006');
CREATE INDEX ix_inbox_events_project_key ON inbox_events (project_key);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('inbox_events',7);
COMMIT;
