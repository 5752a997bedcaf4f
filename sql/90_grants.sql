-- Who may do what: nothing for PUBLIC; the four roles call functions, and these belong to a role that cannot log in.

DO $$
DECLARE
  object record;
BEGIN
  FOR object IN SELECT c.oid::regclass AS name, c.relkind FROM pg_class c
                WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S')
                  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'i' AND c.relkind = 'S')
                ORDER BY c.relkind = 'S'
  LOOP
    EXECUTE format('ALTER %s %s OWNER TO pgalert_owner', CASE object.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, object.name);
    -- All user data is dumped, table by table and sequence by sequence: the mark of a partitioned table does nothing.
    IF object.relkind = 'r' AND object.name::text NOT IN ('pgalert.lane_high', 'pgalert.lane_normal', 'pgalert.lane_low', 'pgalert.adding_up', 'pgalert.added_up',
                                                          'pgalert.breakers') THEN
      PERFORM pg_extension_config_dump(object.name, '');
    END IF;
  END LOOP;
  FOR object IN SELECT c.oid::regclass AS name FROM pg_class c
                WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind = 'S' AND c.relpersistence = 'p'
  LOOP
    PERFORM pg_extension_config_dump(object.name, '');
  END LOOP;
  FOR object IN SELECT p.oid::regprocedure AS name FROM pg_proc p WHERE p.pronamespace = 'pgalert'::regnamespace LOOP
    EXECUTE format('ALTER FUNCTION %s OWNER TO pgalert_owner', object.name);
  END LOOP;
  FOR object IN SELECT c.oid::regclass AS name FROM pg_class c WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind = 'c' LOOP
    EXECUTE format('ALTER TYPE %s OWNER TO pgalert_owner', object.name);
    EXECUTE format('REVOKE ALL ON TYPE %s FROM PUBLIC', object.name);
  END LOOP;
END
$$;

GRANT USAGE, CREATE ON SCHEMA pgalert TO pgalert_owner;
GRANT USAGE ON SCHEMA pgalert TO pgalert_producer, pgalert_driver, pgalert_operator, pgalert_monitor;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgalert FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA pgalert FROM PUBLIC;

GRANT EXECUTE ON FUNCTION
  pgalert.compute_content_hash(jsonb), pgalert.compute_content_hash(jsonb, text, text),
  pgalert.normalize_channels(jsonb), pgalert.normalize_channels(jsonb, boolean, boolean),
  pgalert.retry_delay(integer, interval[]), pgalert.next_retry_at(integer, timestamptz, interval[])
TO pgalert_producer, pgalert_driver, pgalert_operator, pgalert_monitor;

GRANT EXECUTE ON FUNCTION
  pgalert.deliver_alert(jsonb, text, text, interval, text), pgalert.deliver_alerts(jsonb[]),
  pgalert.check_duplicate_delivery(text, interval), pgalert.track_delivery(text, jsonb, jsonb), pgalert.push_to_dlq(text, jsonb, text),
  pgalert.inbox(text, boolean, bigint, integer), pgalert.mark_read(text, bigint[]), pgalert.inbox_channel(text), pgalert.listen_inbox(interval)
TO pgalert_producer;

GRANT EXECUTE ON FUNCTION
  pgalert.claim_batch(text, integer, interval), pgalert.report(bigint, text, jsonb), pgalert.extend_lease(bigint, text, interval),
  pgalert.release_claim(bigint, text), pgalert.announce_sleep(interval), pgalert.schedule_retries(integer), pgalert.maintain(),
  pgalert.rotate_outbox(), pgalert.count_waiting(), pgalert.schedule_jobs(), pgalert.unschedule_jobs(), pgalert._require_pg_cron(),
  pgalert.report_breakers(text, jsonb)
TO pgalert_driver;

GRANT EXECUTE ON FUNCTION
  pgalert.get_failed_alerts(integer, integer), pgalert.increment_retry_count(uuid), pgalert.remove_from_dlq(uuid),
  pgalert.push_to_dlq(text, jsonb, text), pgalert.add_recipient(text, text, text, text), pgalert.remove_recipient(bigint),
  pgalert.list_recipients(text), pgalert.enable_recipient(bigint), pgalert.rotate_secret(bigint, text), pgalert.drop_old_secret(bigint),
  pgalert.add_channel(text, text), pgalert.remove_channel(text), pgalert.set_setting(text, text), pgalert.confirm_cluster(), pgalert.count_waiting()
TO pgalert_operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON pgalert.policies, pgalert.channels TO pgalert_operator;
GRANT SELECT ON pgalert.alert_deliveries, pgalert.alert_dlq, pgalert.delivery_failures, pgalert.suppressed_alerts TO pgalert_operator;

GRANT EXECUTE ON FUNCTION
  pgalert.retry_now(uuid, text), pgalert.retry_matching(jsonb, integer, text), pgalert.discard(uuid, text), pgalert.discard_matching(jsonb, integer, text),
  pgalert.edit_dead_letter(uuid, jsonb, text), pgalert.retry_gradually(jsonb, double precision, text), pgalert.stop_gradual_retry(bigint, text),
  pgalert.list_dead_letters(jsonb, text, jsonb, integer), pgalert.dead_letter(uuid), pgalert.delivery_attempts(uuid),
  pgalert.find_deliveries(jsonb, jsonb, integer), pgalert.recipient_health(text, bigint, integer),
  pgalert.import_dead_letters(jsonb), pgalert.list_actions(jsonb, jsonb, integer)
TO pgalert_operator;
GRANT SELECT ON pgalert.operator_log TO pgalert_operator;
GRANT EXECUTE ON FUNCTION
  pgalert.count_matching(jsonb, bigint), pgalert.error_groups(jsonb, integer), pgalert.list_gradual_retries(integer), pgalert.overview(interval)
TO pgalert_operator, pgalert_monitor;
GRANT EXECUTE ON FUNCTION pgalert.advance_gradual_retries() TO pgalert_driver;
GRANT SELECT ON pgalert.dlq_states, pgalert.dlq_errors, pgalert.delivery_stats_hourly, pgalert.retry_stats TO pgalert_operator, pgalert_monitor;
GRANT SELECT ON pgalert.dlq_states TO pgalert_driver;
GRANT EXECUTE ON FUNCTION pgalert._percentile(smallint[], bigint[], double precision) TO pgalert_operator, pgalert_monitor;  -- its views call it as their reader
GRANT EXECUTE ON FUNCTION pgalert._class_seconds(smallint), pgalert._new_delivery_stats(), pgalert._new_failure_stats() TO pgalert_operator, pgalert_monitor;
GRANT EXECUTE ON FUNCTION pgalert._all_letter_counts() TO pgalert_operator, pgalert_monitor, pgalert_driver;

GRANT EXECUTE ON FUNCTION pgalert.alert_history(text, text) TO pgalert_producer, pgalert_operator;
GRANT EXECUTE ON FUNCTION pgalert.setting(text), pgalert.hold_reason(), pgalert.queue_depth(), pgalert.open_claims(), pgalert.open_breakers() TO pgalert_driver, pgalert_operator, pgalert_monitor;
GRANT EXECUTE ON FUNCTION pgalert.metrics() TO pgalert_driver, pgalert_monitor;
GRANT EXECUTE ON FUNCTION pgalert.list_channels() TO pgalert_driver, pgalert_operator;
GRANT SELECT ON pgalert.all_policies TO pgalert_operator, pgalert_monitor;
GRANT EXECUTE ON FUNCTION pgalert._builtin_policies() TO pgalert_operator, pgalert_monitor;  -- all_policies calls it as its reader

-- The Rust functions; those in SQL have their comment beside them.
COMMENT ON FUNCTION pgalert.compute_content_hash(jsonb) IS 'MD5, as 32 hexadecimal digits, of the canonical text of the JSON: equal to that of Python''s json.dumps(data, sort_keys=True). NULL for NULL; raises 54001 beyond 128 levels.';
COMMENT ON FUNCTION pgalert.compute_content_hash(jsonb, text, text) IS 'Identity of an alert for deduplication: the hash of {"condition", "message", "user_id"}; NULLs are JSON null. Raises 54001 beyond 128 levels.';
COMMENT ON FUNCTION pgalert.normalize_channels(jsonb) IS 'Channels that an alert asks for, as an object of booleans with at least inapp and email: from "channels" (object or array), else from notify_inapp (default true) and notify_email (default false). Raises 22023 and names the key.';
COMMENT ON FUNCTION pgalert.normalize_channels(jsonb, boolean, boolean) IS 'The same for an alert that is kept in columns channels, notify_inapp and notify_email.';
COMMENT ON FUNCTION pgalert.retry_delay(integer, interval[]) IS 'Delay before the next retry of what was retried retry_count times; NULL when the schedule is used up. Raises 22023 for a negative count or delay, 22004 for a NULL in the schedule.';
COMMENT ON FUNCTION pgalert.next_retry_at(integer, timestamptz, interval[]) IS 'last_attempt and the delay of retry_delay(), months and days by the calendar in UTC; NULL when the schedule is used up. Raises 22008 where the time is out of range, and what retry_delay raises.';
