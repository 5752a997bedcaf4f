-- Tables, in the order in which data flows.
--
--   deliver_alert ─▶ notifications (in-app: done)
--        │      └──▶ suppressed_alerts (duplicate, capped)
--        ▼
--     outbox ──claim_batch──▶ claims ──report──▶ claim_log
--        ▲                                │ delivered ──▶ alert_deliveries
--        │                                │ failed ─────▶ delivery_failures, and the channels still owed:
--        │                                ▼
--        │  schedule_retries      ┌─▶ waiting ──▶ queued ──▶ (gone: delivered)
--        └──────────────────── alert_dlq  ▲          │
--                                 │       └──────────┤ failed, deferred
--                                 │                  ▼
--                                 └─▶ permanent   exhausted   expired      (kept for a person)
--
-- The hot path appends to outbox, claims and claim_log and updates none of them. Each has three slots; rotate_outbox()
-- truncates a slot in which nothing is needed any more. A table that pg_dump copies has no seed row: a restore runs
-- this script first and would meet it.
-- The logs have no index of their own, their partitions have: pg_dump restores a partition of a month with its indexes
-- after it is attached, and where attaching had made them the restore would fail.

DO $$
BEGIN
  IF current_setting('server_encoding') NOT IN ('UTF8', 'SQL_ASCII') THEN
    RAISE EXCEPTION 'pgalert needs a database in UTF8' USING ERRCODE = 'feature_not_supported',
      DETAIL = format('The encoding of this one is %s.', current_setting('server_encoding')),
      HINT = 'CREATE DATABASE ... TEMPLATE template0 ENCODING ''UTF8'' makes one.';
  END IF;
END
$$;

-- Who this database is -----------------------------------------------------------------------------------------------

-- Identity of this installation, fixed when this script runs: a restored database has a new one, pg_upgrade and physical
-- copies keep it. A function, since each enqueue needs it and a constant costs nothing; deliver_alert calls it with the owner's rights
-- where the caller has set search_path.
DO $$
BEGIN
  EXECUTE format('CREATE FUNCTION _install_id() RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pgalert, pg_temp AS %L', format('SELECT %L::uuid', gen_random_uuid()));
END
$$;

CREATE TABLE confirmed_cluster (
  only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  install_id   uuid NOT NULL,
  database_oid oid NOT NULL,
  confirmed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE confirmed_cluster IS 'The installation whose messages lie here; written at first use and by confirm_cluster(). Where it differs from _install_id(), this is a copy and nothing is claimed.';

-- What a user sets ---------------------------------------------------------------------------------------------------

CREATE TABLE settings (
  name  text PRIMARY KEY,
  value text NOT NULL
);
COMMENT ON TABLE settings IS 'Settings that differ from the built-in defaults; change them with set_setting().';

CREATE TABLE policies (
  name           text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]*$' AND length(name) <= 63),
  lane           text NOT NULL DEFAULT 'normal' CHECK (lane IN ('high', 'normal', 'low')),
  retry_schedule interval[] NOT NULL DEFAULT '{5 minutes,30 minutes,2 hours,12 hours,24 hours}'
                 CHECK (array_position(retry_schedule, NULL) IS NULL AND coalesce(array_ndims(retry_schedule), 1) = 1
                        AND coalesce(array_length(retry_schedule, 1), 0) <= 50
                        AND interval '0' < ALL (retry_schedule) AND interval '366 days' >= ALL (retry_schedule)
                        AND retry_delay(50, retry_schedule) IS NULL),  -- raises where a delay has a negative part
  jitter         double precision NOT NULL DEFAULT 0 CHECK (jitter BETWEEN 0 AND 1),
  dedup_window   interval NOT NULL DEFAULT '24 hours' CHECK (dedup_window BETWEEN '0' AND '366 days'),
  daily_limit    integer DEFAULT 1 CHECK (daily_limit BETWEEN 1 AND 64)
);
COMMENT ON TABLE policies IS 'Delivery policies, named by an alert''s "priority". Rows here add to or replace the built-in high, normal and low (see all_policies).';
COMMENT ON COLUMN policies.lane IS 'Lane of the queue: high is claimed before normal, normal before low.';
COMMENT ON COLUMN policies.retry_schedule IS 'Delay before each retry. When it is used up the dead letter is exhausted.';
COMMENT ON COLUMN policies.jitter IS 'Share of each delay that is added at random, 0 to 1. Only adds.';
COMMENT ON COLUMN policies.dedup_window IS 'How long the same content is refused as duplicate; 0 turns it off.';
COMMENT ON COLUMN policies.daily_limit IS 'Messages a day for one user and alert; NULL: no limit.';

CREATE SEQUENCE settings_written;
COMMENT ON SEQUENCE settings_written IS 'Called once a policy or the time zone of days was written: until then a firing need not look for one.';

-- Calls a sequence, and has all sessions look at it again from the end of this transaction on.
CREATE FUNCTION _call_for_all(sequence regclass) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_call_for_all_wrapper';

CREATE FUNCTION _note_settings_written() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  PERFORM _call_for_all('pgalert.settings_written');
  RETURN NULL;
END
$$;
CREATE TRIGGER written AFTER INSERT OR UPDATE ON settings FOR EACH ROW WHEN (NEW.name = 'time_zone') EXECUTE FUNCTION _note_settings_written();
CREATE TRIGGER written AFTER INSERT OR UPDATE ON policies FOR EACH STATEMENT EXECUTE FUNCTION _note_settings_written();
ALTER TABLE settings ENABLE ALWAYS TRIGGER written;
ALTER TABLE policies ENABLE ALWAYS TRIGGER written;

CREATE TABLE channels (
  name        text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]*$' AND length(name) <= 63),
  description text
);
COMMENT ON TABLE channels IS 'Channels beyond the built-in inapp, email, slack, sms and webhook. An alert that names an unknown channel is refused.';

CREATE TABLE recipients (
  recipient_id    bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  user_id         text COLLATE "C" NOT NULL,
  channel         text NOT NULL,
  address         text NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT now(),
  disabled_at     timestamptz,
  disabled_reason text,
  UNIQUE (user_id, channel, address)
);
-- For claims, which look a user up for each message: by a hash that takes a third of what the texts of the index above take.
CREATE INDEX recipients_user ON recipients USING hash (user_id);
COMMENT ON TABLE recipients IS 'Where a user is reached: any number of addresses for each channel.';
COMMENT ON COLUMN recipients.disabled_at IS 'Since when nothing is sent there: its receiver said that it is gone for good (HTTP 410). enable_recipient() takes it back.';

CREATE SEQUENCE many_addresses;
COMMENT ON SEQUENCE many_addresses IS 'Called once a user has more than 100 addresses: from then on a claim counts what they take.';

CREATE TABLE recipient_secrets (
  recipient_id bigint PRIMARY KEY REFERENCES recipients ON DELETE CASCADE,
  secrets      text[] NOT NULL CHECK (cardinality(secrets) BETWEEN 1 AND 2),
  changed_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE recipient_secrets IS 'What messages to an address are signed with, the newest first; of two, the second is valid still while the receiver changes over. Apart from recipients, so that no list shows it: only claim_batch() hands it out, to a driver.';

-- Fire ---------------------------------------------------------------------------------------------------------------

CREATE TABLE dedup_keys (
  content_key   uuid,
  day_key       uuid,
  content_until timestamptz,
  day_until     timestamptz,
  owner         uuid NOT NULL
);
-- The order in which a key is looked for, and waited for. Without WHERE ... IS NOT NULL: most rows have both keys, and a firing would have
-- to make the condition ready.
CREATE UNIQUE INDEX dedup_keys_content ON dedup_keys (content_key);
CREATE UNIQUE INDEX dedup_keys_day ON dedup_keys (day_key);
COMMENT ON TABLE dedup_keys IS 'Reservations of a content, of a user''s day, or of both; owner is the delivery_key of the message that holds it. Written without INSERT, as outbox.';

CREATE TABLE suppressed_alerts (
  alert_id      text COLLATE "C" NOT NULL,
  user_id       text COLLATE "C" NOT NULL,
  reason        text NOT NULL CHECK (reason IN ('duplicate', 'capped')),
  content_hash  text COLLATE "C" NOT NULL,
  suppressed_at timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (suppressed_at);
CREATE TABLE suppressed_alerts_default PARTITION OF suppressed_alerts DEFAULT;
CREATE INDEX ON suppressed_alerts_default (alert_id, user_id);
COMMENT ON TABLE suppressed_alerts IS 'Insert-only: each firing that deduplication refused.';

CREATE TABLE notifications (
  notification_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  user_id         text COLLATE "C" NOT NULL,
  alert_id        text COLLATE "C" NOT NULL,
  alert_name      text,
  message         text NOT NULL,
  priority        text NOT NULL,
  delivery_key    uuid NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  read_at         timestamptz
);
CREATE INDEX notifications_inbox ON notifications (user_id, notification_id);
CREATE INDEX notifications_read ON notifications (read_at) WHERE read_at IS NOT NULL;
COMMENT ON TABLE notifications IS 'The in-app inbox. A row is the delivery: it commits with the transaction that fired the alert.';

-- Outbox -------------------------------------------------------------------------------------------------------------

CREATE SEQUENCE message_id;
CREATE SEQUENCE outbox_slot AS smallint MINVALUE 0 MAXVALUE 2 START 0;
COMMENT ON SEQUENCE outbox_slot IS 'Slot that inserts go to. A sequence, since a row read by every call and updated by rotation would be hot under a held snapshot; a late reader is harmless, claims read all slots.';

-- Columns by their alignment, those that may be NULL after those that are not, then texts: so no byte of a row only fills up.
CREATE TABLE outbox (
  xid                xid8 NOT NULL DEFAULT pg_current_xact_id(),
  message_id         bigint NOT NULL DEFAULT nextval('pgalert.message_id'),
  accepted_at        timestamptz NOT NULL,
  enqueued_at        timestamptz NOT NULL,
  attempt            integer NOT NULL DEFAULT 1,
  bytes              integer NOT NULL,
  slot               smallint NOT NULL,
  lane               smallint NOT NULL,
  install_id         uuid NOT NULL,
  delivery_key       uuid NOT NULL,
  content_key        uuid,
  day_key            uuid,
  dlq_id             uuid,
  expires_at         timestamptz,
  alert_data         jsonb NOT NULL,
  alert_id           text COLLATE "C" NOT NULL,
  user_id            text COLLATE "C",
  priority           text NOT NULL,
  channels           text[] NOT NULL,
  delivered_channels text[] NOT NULL DEFAULT '{}',
  owed_recipients    jsonb,
  content_hash       text COLLATE "C" NOT NULL,
  traceparent        text
) PARTITION BY LIST (slot);
CREATE INDEX outbox_queue ON outbox (lane, xid, message_id);
CREATE TABLE outbox_0 PARTITION OF outbox FOR VALUES IN (0) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE TABLE outbox_1 PARTITION OF outbox FOR VALUES IN (1) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
CREATE TABLE outbox_2 PARTITION OF outbox FOR VALUES IN (2) WITH (autovacuum_enabled = off, toast.autovacuum_enabled = off);
COMMENT ON TABLE outbox IS 'Messages for the driver, append-only. A row is never updated or deleted: its slot is truncated when all of it has been claimed and reported. Firings write it without INSERT: triggers for each row are fired, those for each statement are not.';
COMMENT ON COLUMN outbox.lane IS '0 high, 1 normal, 2 low.';
COMMENT ON COLUMN outbox.xid IS 'Transaction that wrote the row: decides in which window of snapshots it is claimed.';
COMMENT ON COLUMN outbox.delivery_key IS 'Stable over all retries; receivers can drop a repetition by it.';
COMMENT ON COLUMN outbox.channels IS 'Channels owed.';
COMMENT ON COLUMN outbox.delivered_channels IS 'Channels done before this attempt was claimed (in-app); the delivery row names them too.';
COMMENT ON COLUMN outbox.owed_recipients IS 'Retries: {channel: [recipient_id, …]} where only some recipients of a channel are owed.';
COMMENT ON COLUMN outbox.bytes IS 'Size of alert_data before compression; bounds a claim.';
COMMENT ON COLUMN outbox.accepted_at IS 'When deliver_alert accepted the alert; the same over all retries.';

-- Claim and report ---------------------------------------------------------------------------------------------------

CREATE SEQUENCE claim_id;

CREATE TABLE claims (
  slot        smallint NOT NULL,
  lane        smallint NOT NULL,
  first_slot  smallint,
  last_slot   smallint,
  claim_id    bigint NOT NULL,
  lo          pg_snapshot NOT NULL,
  hi          pg_snapshot NOT NULL,
  after_xid   xid8 NOT NULL,
  after_id    bigint NOT NULL,
  upto_xid    xid8 NOT NULL,
  upto_id     bigint NOT NULL,
  messages    integer NOT NULL,
  expires_at  timestamptz,
  takeover_of bigint,
  takeovers   smallint NOT NULL DEFAULT 0,
  worker      text NOT NULL,
  claimed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_until timestamptz NOT NULL,
  PRIMARY KEY (claim_id, slot)
) PARTITION BY LIST (slot);
CREATE INDEX claims_cursor ON claims (lane, claim_id) WHERE takeover_of IS NULL;
CREATE TABLE claims_0 PARTITION OF claims FOR VALUES IN (0);
CREATE TABLE claims_1 PARTITION OF claims FOR VALUES IN (1);
CREATE TABLE claims_2 PARTITION OF claims FOR VALUES IN (2);
COMMENT ON TABLE claims IS 'One row a claim: the window of snapshots (lo, hi], the positions (after, upto] in it, and the lease. The newest row of a lane that is no take-over is the lane''s cursor. Most are written without INSERT, as outbox.';
COMMENT ON COLUMN claims.first_slot IS 'The claim''s messages lie in slots from this one to last_slot.';
COMMENT ON COLUMN claims.messages IS 'Messages in the window part; 0 where the cursor only moved on.';
COMMENT ON COLUMN claims.expires_at IS 'The earliest expiry among its messages; NULL: none expires.';
COMMENT ON COLUMN claims.takeovers IS 'How often the lease of these messages ran out.';
COMMENT ON COLUMN claims.lease_until IS 'After this another worker may take the claim over; -infinity: given back.';

CREATE TABLE claim_log (
  slot     smallint NOT NULL,
  claim_id bigint NOT NULL,
  finished bigint[] NOT NULL DEFAULT '{}',
  partial  jsonb,
  ended    text CHECK (ended IN ('finished', 'taken_over'))
) PARTITION BY LIST (slot);
CREATE INDEX claim_log_claim ON claim_log (claim_id);
CREATE TABLE claim_log_0 PARTITION OF claim_log FOR VALUES IN (0);
CREATE TABLE claim_log_1 PARTITION OF claim_log FOR VALUES IN (1);
CREATE TABLE claim_log_2 PARTITION OF claim_log FOR VALUES IN (2);
COMMENT ON TABLE claim_log IS 'Append-only: what was reported of each claim. In the slot of its claim.';
COMMENT ON COLUMN claim_log.finished IS 'message_id of each message that needs no further report under this claim.';
COMMENT ON COLUMN claim_log.partial IS 'Outcomes of messages of which other channels are not reported yet, each with its message_id.';

-- One lock a lane. A table, since a lock on a row takes a transaction id, and an advisory key can be held by any role.
CREATE TABLE lane_high ();
CREATE TABLE lane_normal ();
CREATE TABLE lane_low ();
COMMENT ON TABLE lane_high IS 'Empty: locked by whoever claims from this lane.';
COMMENT ON TABLE lane_normal IS 'Empty: locked by whoever claims from this lane.';
COMMENT ON TABLE lane_low IS 'Empty: locked by whoever claims from this lane.';

-- Times in milliseconds since 1970, in sequences: no transaction id, no WAL, no dead row. A crash resets them to 1, not called.
CREATE UNLOGGED SEQUENCE drivers_asleep_until;
CREATE UNLOGGED SEQUENCE inboxes_listening_until;
CREATE UNLOGGED SEQUENCE leases_searched_at;
CREATE UNLOGGED SEQUENCE lease_low_water;
CREATE UNLOGGED SEQUENCE first_use_seen;
COMMENT ON SEQUENCE first_use_seen IS 'Called once confirmed_cluster was seen to have its row, so that not every firing looks.';
COMMENT ON SEQUENCE drivers_asleep_until IS 'Until when a driver may be asleep and wants NOTIFY. Not called means: not known, so notify.';
COMMENT ON SEQUENCE inboxes_listening_until IS 'Until when some live inbox wants NOTIFY.';
COMMENT ON SEQUENCE leases_searched_at IS 'When claim_batch last looked for leases that ran out.';
COMMENT ON SEQUENCE lease_low_water IS 'All claims below this claim_id have ended.';

CREATE UNLOGGED TABLE breakers (
  worker     text COLLATE "C" NOT NULL,
  channel    text COLLATE "C" NOT NULL,
  host       text COLLATE "C" NOT NULL,
  open_until timestamptz NOT NULL,
  PRIMARY KEY (worker, channel, host)
);
COMMENT ON TABLE breakers IS 'Hosts that a running driver leaves alone for now. Not dumped, and empty after a crash: its driver tells it again.';

-- Results ------------------------------------------------------------------------------------------------------------

CREATE SEQUENCE delivery_segment;
COMMENT ON SEQUENCE delivery_segment IS 'Segment that deliveries are written to: when it began, in seconds since 2000.';

CREATE FUNCTION _segment() RETURNS integer
LANGUAGE sql VOLATILE
AS $$ SELECT pg_sequence_last_value('pgalert.delivery_segment')::integer $$;

CREATE TABLE alert_deliveries (
  id               uuid NOT NULL DEFAULT pgalert._message_key(),
  alert_id         text COLLATE "C" NOT NULL,
  user_id          text COLLATE "C",
  content_hash     text COLLATE "C" NOT NULL,
  delivery_methods jsonb NOT NULL,
  delivered_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  delivery_key     uuid NOT NULL,
  attempt          integer NOT NULL,
  segment          integer NOT NULL DEFAULT pgalert._segment(),
  priority         text NOT NULL,
  accepted_at      timestamptz NOT NULL
) PARTITION BY RANGE (delivered_at);
CREATE TABLE alert_deliveries_default PARTITION OF alert_deliveries (PRIMARY KEY (id, delivered_at)) DEFAULT;
-- Of numbers, not of the texts, and within a segment: each delivery writes these entries, at random places.
CREATE INDEX ON alert_deliveries_default (segment, hashtext(content_hash));
CREATE INDEX ON alert_deliveries_default (segment, coalesce(hashtext(user_id), 0), hashtext(alert_id));
COMMENT ON TABLE alert_deliveries IS 'Insert-only: one row for a message and attempt that reached somebody; delivery_methods names the channels that did.';
COMMENT ON COLUMN alert_deliveries.segment IS 'Stretch of time in which the row was written, begun at that second since 2000: where a search by content, user or alert finds it.';

-- An error without what differs from one message to the next, so that equal faults are counted together.
CREATE FUNCTION _error_group(error text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT coalesce(nullif(left(regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(left(error, 1000),
    '[a-zA-Z]+://[^[:space:]"'')>,;]+', '<url>', 'g'),
    '[^[:space:]<>"''(),;:]+@[^[:space:]<>"''(),;:]+', '<address>', 'g'),
    '"[^"]*"', '"..."', 'g'),
    '[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(:[0-9]+)?|\[[0-9a-fA-F:]+\](:[0-9]+)?', '<ip>', 'g'),
    '[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\m(?=[a-fA-F]*[0-9])[0-9a-fA-F]{4,}\M|[0-9]{4,}', '<n>', 'g'), 200), ''), '(no text)')
$$;

CREATE TABLE alert_dlq (
  id              uuid NOT NULL DEFAULT pgalert._message_key(),
  alert_id        text COLLATE "C" NOT NULL,
  user_id         text COLLATE "C",
  alert_data      jsonb NOT NULL,
  error_message   text NOT NULL,
  error_class     text NOT NULL,
  retry_count     integer NOT NULL DEFAULT 0,
  state           text NOT NULL CHECK (state IN ('waiting', 'queued', 'exhausted', 'permanent', 'expired')),
  channels        text[] NOT NULL,
  owed_recipients jsonb,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  last_retry_at   timestamptz,
  next_retry_at   timestamptz,
  deferred_since  timestamptz,
  deferrals       integer NOT NULL DEFAULT 0,
  priority        text NOT NULL,
  content_hash    text COLLATE "C" NOT NULL,
  delivery_key    uuid NOT NULL,
  content_key     uuid,
  day_key         uuid,
  accepted_at     timestamptz NOT NULL,
  expires_at      timestamptz,
  traceparent     text,
  host            text,
  error_group     text GENERATED ALWAYS AS (_error_group(error_message)) STORED
) PARTITION BY RANGE (created_at);
CREATE TABLE alert_dlq_default PARTITION OF alert_dlq (PRIMARY KEY (id, created_at)) DEFAULT;
CREATE INDEX ON alert_dlq_default (next_retry_at) WHERE state = 'waiting';
CREATE INDEX ON alert_dlq_default (created_at) WHERE state IN ('waiting', 'queued');
CREATE INDEX ON alert_dlq_default (delivery_key);
CREATE INDEX ON alert_dlq_default (alert_id, user_id);
CREATE INDEX ON alert_dlq_default (alert_id, id);
CREATE INDEX ON alert_dlq_default (user_id, id);
CREATE INDEX ON alert_dlq_default (error_class, id);
CREATE INDEX ON alert_dlq_default (error_group, id);
CREATE INDEX ON alert_dlq_default (host, id) WHERE host IS NOT NULL;
CREATE INDEX ON alert_dlq_default (state, id);
COMMENT ON TABLE alert_dlq IS 'Dead letters: channels of accepted alerts that were not reached. waiting and queued are retried; exhausted, permanent and expired are kept for a person.';
COMMENT ON COLUMN alert_dlq.channels IS 'Channels still owed.';
COMMENT ON COLUMN alert_dlq.retry_count IS 'Retries that failed; the first attempt does not count.';
COMMENT ON COLUMN alert_dlq.host IS 'The receiver that failed, where the driver named one.';
COMMENT ON COLUMN alert_dlq.error_group IS 'error_message without addresses, numbers and quotations: equal faults have equal groups.';
COMMENT ON COLUMN alert_dlq.deferred_since IS 'Start of an unbroken row of deferrals; 48 hours of it count as one failure.';

CREATE TABLE delivery_failures (
  delivery_key uuid NOT NULL,
  dlq_id       uuid,
  alert_id     text COLLATE "C" NOT NULL,
  user_id      text COLLATE "C",
  channel      text NOT NULL,
  recipient_id bigint,
  attempt      integer NOT NULL,
  outcome      text NOT NULL CHECK (outcome IN ('failed', 'deferred')),
  error_class  text NOT NULL,
  error        text NOT NULL,
  host         text,
  duration_ms  double precision,
  failed_at    timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY RANGE (failed_at);
CREATE TABLE delivery_failures_default PARTITION OF delivery_failures DEFAULT;
CREATE INDEX ON delivery_failures_default (delivery_key);
CREATE INDEX ON delivery_failures_default (alert_id, user_id);
CREATE INDEX ON delivery_failures_default (recipient_id, failed_at);
COMMENT ON TABLE delivery_failures IS 'Insert-only: each attempt on a channel that failed or was deferred, for analysis.';
COMMENT ON COLUMN delivery_failures.dlq_id IS 'The dead letter that was being retried; NULL for a first attempt.';

-- The desk -----------------------------------------------------------------------------------------------------------

CREATE SEQUENCE operator_log_id;
CREATE TABLE operator_log (
  id       bigint NOT NULL DEFAULT nextval('pgalert.operator_log_id'),
  at       timestamptz NOT NULL DEFAULT clock_timestamp(),
  operator text NOT NULL,
  action   text NOT NULL,
  dlq_id   uuid,
  filter   jsonb,
  letters  integer NOT NULL,
  reason   text,
  detail   jsonb
) PARTITION BY RANGE (at);
CREATE TABLE operator_log_default PARTITION OF operator_log (PRIMARY KEY (id, at)) DEFAULT;
CREATE INDEX ON operator_log_default (dlq_id);
COMMENT ON TABLE operator_log IS 'Insert-only: what persons did with dead letters, and addresses that they enabled: who, what, which letter or filter, how many, why. It holds no message text and no address.';

-- Counts are appended to with xid, and read from where the last adding up ended (see 49_added_up.sql).
CREATE SEQUENCE added_up_id;
CREATE TABLE added_up (
  id           bigint NOT NULL DEFAULT nextval('pgalert.added_up_id'),
  what         text NOT NULL CHECK (what IN ('letters', 'deliveries', 'failures')),
  below        xid8 NOT NULL,
  open         xid8[] NOT NULL,
  left_rows    bigint,
  minutes_from timestamptz,
  PRIMARY KEY (what, id)
);
CREATE TABLE adding_up ();
COMMENT ON TABLE added_up IS 'Which differences have been added up: those of transactions before "below" that were not open. The newest row of each kind counts. Not dumped: transaction ids are this cluster''s.';
COMMENT ON COLUMN added_up.left_rows IS 'Of letters: how many kinds were left.';
COMMENT ON COLUMN added_up.minutes_from IS 'Of statistics: before this, minutes have become hours.';
COMMENT ON TABLE adding_up IS 'Empty: locked by whoever adds up.';

-- Exact at each moment without counting the letters: a trigger of alert_dlq appends what a statement changed, maintain() adds up.
CREATE TABLE letter_counts (
  state       text NOT NULL,
  error_class text NOT NULL,
  channels    text[] NOT NULL,
  host        text,
  error_group text NOT NULL,
  letters     bigint NOT NULL,
  first_at    timestamptz,
  last_at     timestamptz,
  xid         xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX letter_counts_xid ON letter_counts (xid);
COMMENT ON TABLE letter_counts IS 'Dead letters by state and kind of error, as differences to be added up. channels: those owed. first_at, last_at: created_at of letters that came to it.';

CREATE TABLE gradual_retries (
  id                bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
  filter            jsonb NOT NULL,
  started_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_by        text NOT NULL,
  reason            text,
  total             bigint NOT NULL,
  max_failure_share double precision NOT NULL CHECK (max_failure_share BETWEEN 0 AND 1),
  step              smallint NOT NULL DEFAULT 0 CHECK (step BETWEEN 0 AND 2),
  queued            bigint NOT NULL DEFAULT 0,
  delivered         bigint NOT NULL DEFAULT 0,
  failed            bigint NOT NULL DEFAULT 0,
  state             text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
  ended_at          timestamptz,
  step_letters      uuid[] NOT NULL DEFAULT '{}',
  step_removed      integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE gradual_retries IS 'Retries of many dead letters in steps: 1 %, then 10 %, then all, stopped when more than a share of a step fails.';
COMMENT ON COLUMN gradual_retries.step IS '0: 1 % of the letters, 1: 10 %, 2: all others, in parts.';
COMMENT ON COLUMN gradual_retries.step_letters IS 'Letters queued in this step.';
COMMENT ON COLUMN gradual_retries.step_removed IS 'Letters of this step that a person has removed since: they were not delivered.';

-- Statistics. A trigger of the log appends what a statement added; maintain() adds that up by the minute, and after some
-- hours by the hour. So a transaction that commits late is counted, and once.
CREATE TABLE delivery_stats (
  at         timestamptz NOT NULL,
  width      interval NOT NULL CHECK (width IN ('1 minute', '1 hour')),
  channel    text NOT NULL,
  seconds    smallint NOT NULL,
  deliveries bigint NOT NULL,
  by_retry   bigint NOT NULL,
  retries    bigint NOT NULL,
  PRIMARY KEY (width, at, channel, seconds)
);
CREATE TABLE delivery_stats_new (LIKE delivery_stats, xid xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE INDEX delivery_stats_new_xid ON delivery_stats_new (xid);
COMMENT ON TABLE delivery_stats IS 'Deliveries of a minute or an hour by channel and time from accepted to delivered. seconds: class of a scale of 8 classes to a power of ten, 0 is up to a millisecond; by_retry: how many of them were retries; retries: how many attempts had failed before.';
COMMENT ON TABLE delivery_stats_new IS 'What is not added up yet in delivery_stats.';

CREATE TABLE failure_stats (
  at          timestamptz NOT NULL,
  width       interval NOT NULL CHECK (width IN ('1 minute', '1 hour')),
  channel     text NOT NULL,
  outcome     text NOT NULL,
  error_class text NOT NULL,
  host        text NOT NULL,
  error_group text NOT NULL,
  failures    bigint NOT NULL,
  PRIMARY KEY (width, at, channel, outcome, error_class, host, error_group)
);
CREATE TABLE failure_stats_new (LIKE failure_stats, xid xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE INDEX failure_stats_new_xid ON failure_stats_new (xid);
COMMENT ON TABLE failure_stats IS 'Attempts of a minute or an hour that failed or were deferred, by kind of error. host: empty where none was named.';
COMMENT ON TABLE failure_stats_new IS 'What is not added up yet in failure_stats.';

-- Rows of tables without a primary key are deleted, too. In a database with a publication for all tables that needs an identity.
ALTER TABLE dedup_keys REPLICA IDENTITY FULL;
ALTER TABLE suppressed_alerts_default REPLICA IDENTITY FULL;
ALTER TABLE delivery_failures_default REPLICA IDENTITY FULL;
ALTER TABLE letter_counts REPLICA IDENTITY FULL;
ALTER TABLE delivery_stats_new REPLICA IDENTITY FULL;
ALTER TABLE failure_stats_new REPLICA IDENTITY FULL;
