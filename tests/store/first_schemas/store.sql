BEGIN TRANSACTION;
CREATE TABLE alembic_version_store (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_store_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version_store" VALUES('store_0001');
CREATE TABLE predictions (
	region_id VARCHAR(64) NOT NULL, 
	project_key VARCHAR(255), 
	task_id VARCHAR(64), 
	model_version VARCHAR(255) NOT NULL, 
	from_name VARCHAR(255) NOT NULL, 
	region_type VARCHAR(64) NOT NULL, 
	label TEXT, 
	score FLOAT, 
	interactive BOOLEAN NOT NULL, 
	prompt TEXT NOT NULL, 
	value BLOB NOT NULL, 
	image_sha256 VARCHAR(64) NOT NULL, 
	image_height_px INTEGER NOT NULL, 
	image_width_px INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (region_id)
);
INSERT INTO "predictions" VALUES('r1','here/1.2','5','tiny-1','poly','polygonlabels','cat',0.5,1,'{"task": "intseg"}',X'789CAB562AC8CFCC2B2956B28A8E36D433D531D2338D8DAD050053AF06D9','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',3,4,'2026-01-02 03:04:05.000006');
INSERT INTO "predictions" VALUES('r2',NULL,NULL,'tiny-1','poly','polygonlabels',NULL,NULL,0,'{}',X'789CAB562AC8CFCC2B2956B28A8E36D433D531D2338D8DAD050053AF06D9','ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff',3,4,'2026-01-02 03:04:06.000000');
CREATE TABLE projects (
	"key" VARCHAR(255) NOT NULL, 
	title TEXT, 
	label_config TEXT, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "projects" VALUES('here/1.2','cells','<View/>','2026-01-02 03:04:05.000006');
CREATE INDEX ix_predictions_project_key ON predictions (project_key);
CREATE INDEX ix_predictions_created_at ON predictions (created_at);
COMMIT;
