//! The tables of the database.

/// "SP1D" in ASCII. SQLite stores it in the file's header and thereby marks the file as a database of this program.
pub(super) const APPLICATION_ID: i32 = 0x5350_3144;

/// Version of the tables and of the JSON in their columns, stored as SQLite's `user_version`. Raise it when a stored
/// name changes, and add a step to `UPGRADES`.
pub(super) const SCHEMA_VERSION: i32 = 7;

/// The oldest version that this release can upgrade: that of `SCHEMA`.
pub(super) const OLDEST_VERSION: i32 = 4;

/// The steps from each version to the next one, from `OLDEST_VERSION` on. A new database takes them too, so that it has
/// the same tables as an upgraded one.
pub(super) const UPGRADES: [&str; (SCHEMA_VERSION - OLDEST_VERSION) as usize] = [VERSION_5, VERSION_6, VERSION_7];

pub(super) const SCHEMA: &str = "
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE programs (
    id TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL,
    -- Empty until it is computed.
    verifying_key TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
CREATE TABLE proofs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    program TEXT NOT NULL REFERENCES programs (id),
    input TEXT NOT NULL,
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    cycle_limit INTEGER,
    nonce TEXT NOT NULL,
    options TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    request TEXT NOT NULL,
    -- Address of the requester, for requests of sp1-sdk's network client.
    requester TEXT,
    created INTEGER NOT NULL,
    started INTEGER,
    ended INTEGER,
    deadline INTEGER,
    starts INTEGER NOT NULL DEFAULT 0,
    -- Crashes of the service while no other proof was running.
    crashes INTEGER NOT NULL DEFAULT 0,
    -- How strongly this proof is suspected of a crash. See suspects.rs.
    suspicion INTEGER NOT NULL DEFAULT 0,
    -- 1 until the proof has run alone for long enough.
    suspect INTEGER NOT NULL DEFAULT 0,
    tasks TEXT NOT NULL DEFAULT '{\"known\":0,\"done\":0,\"cached\":0}',
    cycles INTEGER,
    shards INTEGER,
    result TEXT,
    result_bytes INTEGER,
    workers TEXT NOT NULL DEFAULT '[]',
    failure TEXT
) STRICT;
CREATE INDEX proofs_by_state ON proofs (state, priority DESC, number);
CREATE INDEX proofs_by_requester ON proofs (requester, started);
-- Requests of sp1-sdk's network client, by their id.
CREATE TABLE hosted_requests (
    id TEXT PRIMARY KEY,
    proof TEXT NOT NULL UNIQUE REFERENCES proofs (id) ON DELETE CASCADE,
    program_hash TEXT NOT NULL,
    -- In seconds since 1970, as the client has asked for it.
    deadline INTEGER NOT NULL,
    private INTEGER NOT NULL
) STRICT;
-- Uploads of that client, until they expire. The files are blobs.
CREATE TABLE hosted_artifacts (
    id TEXT PRIMARY KEY,
    requester TEXT NOT NULL,
    kind TEXT NOT NULL,
    blob TEXT NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX hosted_artifacts_by_requester ON hosted_artifacts (requester);
CREATE INDEX hosted_artifacts_by_age ON hosted_artifacts (expires);
-- Used nonces above the counter `nonce_floor`. All nonces up to it count as used.
CREATE TABLE hosted_nonces (
    requester TEXT NOT NULL,
    nonce INTEGER NOT NULL,
    PRIMARY KEY (requester, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX hosted_nonces_by_age ON hosted_nonces (nonce);
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE events (
    proof TEXT NOT NULL REFERENCES proofs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY (proof, number)
) STRICT, WITHOUT ROWID;
";

/// Version 5: gas limits, private proofs, deletion, tokens and tenants. Everything from before belongs to the tenant
/// `default`.
///
/// The column `idempotency_key` of a proof is unique in the whole table, and two tenants may use the same key. For
/// tenants other than `default`, the column contains the tenant and the key, see `stored_key`.
const VERSION_5: &str = "
ALTER TABLE proofs ADD COLUMN gas_limit INTEGER;
ALTER TABLE proofs ADD COLUMN gas INTEGER;
-- 1 if only trusted workers may get tasks.
ALTER TABLE proofs ADD COLUMN trusted_only INTEGER NOT NULL DEFAULT 0;
-- What is left to remove of deleted proofs: files, and cached results of an input.
CREATE TABLE removals (
    kind TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (kind, digest)
) STRICT, WITHOUT ROWID;
ALTER TABLE proofs ADD COLUMN tenant TEXT NOT NULL DEFAULT 'default';
-- What a deletion looks up.
CREATE INDEX proofs_by_input ON proofs (input);
CREATE INDEX proofs_by_result ON proofs (result);
CREATE INDEX proofs_by_tenant ON proofs (tenant, number);
CREATE INDEX proofs_by_tenant_and_state ON proofs (tenant, state);
CREATE INDEX proofs_by_tenant_and_start ON proofs (tenant, started);
-- Programs as the tenants see them. The table `programs` has each file once, and its key is never shown.
CREATE TABLE tenant_programs (
    tenant TEXT NOT NULL,
    program TEXT NOT NULL REFERENCES programs (id) ON DELETE CASCADE,
    -- Empty until it is computed for this tenant.
    verifying_key TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (tenant, program)
) STRICT, WITHOUT ROWID;
CREATE INDEX tenant_programs_by_program ON tenant_programs (program);
INSERT INTO tenant_programs SELECT 'default', id, verifying_key, created FROM programs;
-- The inputs that a tenant has uploaded and may use.
CREATE TABLE tenant_inputs (
    tenant TEXT NOT NULL,
    input TEXT NOT NULL,
    -- 0 for inputs from before there were tenants.
    bytes INTEGER NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (tenant, input)
) STRICT, WITHOUT ROWID;
INSERT INTO tenant_inputs SELECT DISTINCT 'default', input, 0, 0 FROM proofs;
-- What a tenant may use. Null means that only the limits of the service count.
CREATE TABLE quotas (
    tenant TEXT PRIMARY KEY,
    queued INTEGER,
    running INTEGER,
    cycles INTEGER,
    bytes INTEGER,
    min_priority INTEGER,
    max_priority INTEGER
) STRICT;
CREATE TABLE tokens (
    name TEXT PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    -- SHA-256 of the secret.
    digest BLOB NOT NULL,
    tenant TEXT NOT NULL,
    roles TEXT NOT NULL,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
";

/// Version 6: how long a tenant keeps its proofs.
const VERSION_6: &str = "
-- In milliseconds. Null means as long as the service keeps proofs.
ALTER TABLE quotas ADD COLUMN keep_ms INTEGER;
";

/// Version 7: requesters take turns within their tenant.
const VERSION_7: &str = "
DROP INDEX proofs_by_requester;
CREATE INDEX proofs_by_tenant_and_requester ON proofs (tenant, requester, started);
";
