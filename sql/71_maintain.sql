-- Upkeep: rotation, expired keys, partitions of the logs, and its schedule in pg_cron.

CREATE UNLOGGED SEQUENCE dedup_purge_page MINVALUE 0 START 0;
CREATE UNLOGGED SEQUENCE partitions_kept_at;
COMMENT ON SEQUENCE dedup_purge_page IS 'Page of dedup_keys at which the next purge goes on.';
COMMENT ON SEQUENCE partitions_kept_at IS 'When partitions were last looked after, in milliseconds since 1970.';

-- Deletes expired keys of the next pages of the table: a bounded walk, so that no index on the time is needed. A row that is locked is
-- about to be taken or given back, in another order than this.
CREATE FUNCTION _purge_dedup_keys(pages integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  first_page bigint := (SELECT last_value FROM dedup_purge_page);
  past_page  bigint := first_page + pages;
  purged     bigint;
BEGIN
  DELETE FROM dedup_keys k
  WHERE k.ctid = ANY (ARRAY(SELECT e.ctid FROM dedup_keys e
                            WHERE e.ctid >= format('(%s,0)', first_page)::tid AND e.ctid < format('(%s,0)', past_page)::tid
                              AND greatest(e.day_until, e.content_until) <= clock_timestamp()
                            FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS purged = ROW_COUNT;
  PERFORM setval('pgalert.dedup_purge_page',
                 CASE WHEN past_page * current_setting('block_size')::bigint >= pg_relation_size('pgalert.dedup_keys') THEN 0 ELSE past_page END);
  RETURN purged;
END
$$;

-- Adds a month's partition, or leaves it for the next time where a reader is in the way or the default partition has its rows.
CREATE FUNCTION _add_partition(log text, month date) RETURNS boolean
LANGUAGE plpgsql VOLATILE SET lock_timeout = '50ms' SET timezone = 'UTC'
AS $$
DECLARE
  name text := format('%s_%s', log, to_char(month, 'YYYY_MM'));
BEGIN
  IF to_regclass('pgalert.' || name) IS NOT NULL THEN
    RETURN false;
  END IF;
  -- An insert that had chosen the default partition before ATTACH would fail after it: writers wait outside, readers do not.
  EXECUTE format('LOCK TABLE ONLY pgalert.%I IN SHARE ROW EXCLUSIVE MODE', log);
  EXECUTE format('CREATE TABLE pgalert.%I (LIKE pgalert.%I INCLUDING ALL)', name, log || '_default');
  EXECUTE format('ALTER TABLE pgalert.%I ATTACH PARTITION pgalert.%I FOR VALUES FROM (%L) TO (%L)', log, name,
                 month::timestamptz, (month + interval '1 month')::timestamptz);
  RETURN true;
EXCEPTION WHEN lock_not_available OR check_violation OR duplicate_table THEN
  RETURN false;
END
$$;

-- Drops partitions that end before the given time, and such rows of the default partition.
CREATE FUNCTION _drop_old_partitions(log text, time_column text, before timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET lock_timeout = '50ms' SET timezone = 'UTC'
AS $$
DECLARE
  name    text;
  dropped bigint := 0;
BEGIN
  FOR name IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = ('pgalert.' || log)::regclass AND c.relname ~ ('^' || log || '_[0-9]{4}_[0-9]{2}$')
      AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= before
  LOOP
    EXECUTE format('DROP TABLE pgalert.%I', name);
    dropped := dropped + 1;
  END LOOP;
  EXECUTE format('DELETE FROM pgalert.%I WHERE %I < $1', log || '_default', time_column) USING before;
  RETURN dropped;
EXCEPTION WHEN lock_not_available THEN
  RETURN 0;
END
$$;

CREATE FUNCTION _keep_partitions(OUT added bigint, OUT dropped bigint)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  this_month date := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date;
  log record;
  month_added boolean;
  default_in_use boolean;
BEGIN
  added := 0;
  dropped := 0;
  FOR log IN SELECT * FROM (VALUES ('alert_deliveries', 'delivered_at', true), ('alert_dlq', 'created_at', false),
                                   ('delivery_failures', 'failed_at', true), ('suppressed_alerts', 'suppressed_at', true), ('operator_log', 'at', true)) v (name, time_column, ages)
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM pgalert.%I)', log.name || '_default') INTO default_in_use;
    FOR ahead IN CASE WHEN default_in_use THEN 1 ELSE 0 END .. 2 LOOP
      month_added := _add_partition(log.name, (this_month + ahead * interval '1 month')::date);
      added := added + month_added::integer;
    END LOOP;
    IF log.ages THEN  -- dead letters stay until a person has dealt with them
      dropped := dropped + _drop_old_partitions(log.name, log.time_column, clock_timestamp() - setting('retention')::interval);
    END IF;
  END LOOP;
END
$$;

-- Deletes notifications that were read before the given time: a part of them, so that nobody waits for long.
CREATE FUNCTION _purge_notifications(before timestamptz) RETURNS bigint
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
  purged bigint;
BEGIN
  DELETE FROM notifications n
  WHERE n.notification_id = ANY (ARRAY(SELECT r.notification_id FROM notifications r WHERE r.read_at < before
                                       ORDER BY r.read_at LIMIT 100000 FOR UPDATE SKIP LOCKED));
  GET DIAGNOSTICS purged = ROW_COUNT;
  RETURN purged;
END
$$;

CREATE FUNCTION maintain() RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  held       text := hold_reason();
  done       jsonb;
  partitions record;
  slot_bytes bigint;
BEGIN
  PERFORM _require_read_committed('maintain');
  IF held IS NOT NULL THEN
    RETURN jsonb_build_object('held', held);
  END IF;
  done := jsonb_build_object('dedup_keys_purged', _purge_dedup_keys(2000));
  IF NOT coalesce(pg_sequence_last_value('pgalert.partitions_kept_at') BETWEEN _now_ms() - 3600000 AND _now_ms(), false) THEN
    PERFORM setval('pgalert.partitions_kept_at', _now_ms());
    SELECT * INTO partitions FROM _keep_partitions();
    done := done || jsonb_build_object('partitions_added', partitions.added, 'partitions_dropped', partitions.dropped,
                                       'notifications_purged', _purge_notifications(clock_timestamp() - setting('retention')::interval));
  END IF;
  DELETE FROM breakers b WHERE b.open_until < clock_timestamp() - interval '1 hour';  -- their driver is gone, or nobody sends there any more
  PERFORM _add_up_letter_counts(), _add_up_stats(), advance_gradual_retries();
  -- Last, since its locks are held to the end of the transaction.
  SELECT sum(pg_total_relation_size(format('pgalert.%s_%s', t, s.last_value))) INTO slot_bytes
  FROM outbox_slot s, unnest('{outbox,claims,claim_log}'::text[]) t;
  IF slot_bytes >= setting('rotate_bytes')::bigint THEN
    FOR attempt IN 1 .. 20 LOOP
      done := done || jsonb_build_object('rotated_to', rotate_outbox());
      EXIT WHEN done ->> 'rotated_to' IS NOT NULL;
      PERFORM pg_sleep(0.005);
    END LOOP;
  END IF;
  RETURN done;
END
$$;
COMMENT ON FUNCTION maintain() IS 'Upkeep, to be called every few seconds by the driver or each minute by pg_cron; several at once are harmless. Purges expired dedup keys, adds up statistics, carries on gradual retries, rotates the outbox when the slot in use has grown to setting rotate_bytes, keeps partitions of the logs two months ahead, and drops those older than setting retention with notifications that were read before it. Returns what it did as a JSON object.';

CREATE FUNCTION _require_pg_cron() RETURNS void
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
    RAISE EXCEPTION 'pg_cron is not installed in this database' USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = 'Retry selection and upkeep are run by pg_cron, or by a driver (pgalert run), which needs no schedule.',
      HINT = 'Add pg_cron to shared_preload_libraries, set cron.database_name to this database, restart, and CREATE EXTENSION pg_cron.';
  END IF;
END
$$;

CREATE FUNCTION schedule_jobs() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pgalert, pg_temp
AS $$
DECLARE
  jobs integer;
BEGIN
  PERFORM _require_pg_cron();
  -- The job has this database's environment: it only moves rows. What a copied server sends is up to its driver.
  EXECUTE $sql$
    SELECT count(cron.schedule(j.name, '* * * * *', format('SELECT pgalert.%s() FROM set_config(''pgalert.environment'', %L, true)', j.call, $1)))
    FROM (VALUES ('pgalert_retries', 'schedule_retries'), ('pgalert_maintain', 'maintain')) AS j (name, call)
  $sql$ INTO jobs USING setting('environment');
  RETURN jobs;
END
$$;
COMMENT ON FUNCTION schedule_jobs() IS 'Registers retry selection and upkeep with pg_cron, each minute, as the calling role (which needs pgalert_driver and USAGE on schema cron). Again: replaces them. Returns the number of jobs. Raises 55000 where pg_cron is not installed.';

CREATE FUNCTION unschedule_jobs() RETURNS integer
LANGUAGE plpgsql VOLATILE SET search_path = pgalert, pg_temp
AS $$
DECLARE
  jobs integer;
BEGIN
  PERFORM _require_pg_cron();
  EXECUTE $sql$
    SELECT count(cron.unschedule(j.jobid)) FROM cron.job j
    WHERE j.jobname IN ('pgalert_retries', 'pgalert_maintain') AND j.database = current_database() AND j.username = current_user
  $sql$ INTO jobs;
  RETURN jobs;
END
$$;
COMMENT ON FUNCTION unschedule_jobs() IS 'Removes what schedule_jobs() registered for the calling role. Returns the number of jobs removed.';
