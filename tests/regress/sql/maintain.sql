-- Upkeep, as maintain() does it. Time is moved in the tables.
--   1. Dedup keys past their time are purged, live ones are kept. Each call walks a bounded part of the table; a few calls
--      have walked all of it, and begin again.
--   2. Partitions of the logs are kept for this month and the two that follow; at most once an hour.
--   3. Rows that lie in the default partition are in nobody's way: months that they are not of are added all the same.
--   4. Retention drops months that lie wholly before it, and such rows of the default partition; dead letters stay. Notifications that
--      were read before it go, those that were not stay.
--   5. While the database is held nothing of it is done.
SET search_path = pgalert, public;
SET timezone = 'UTC';
\pset null NULL
CREATE FUNCTION pg_temp.hour_passes() RETURNS void LANGUAGE sql AS $$
  SELECT setval('partitions_kept_at', (extract(epoch FROM clock_timestamp() - interval '61 minutes') * 1000)::bigint)
$$;
-- Partitions of a log, by months from now.
CREATE FUNCTION pg_temp.months_of(log text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg(coalesce(months::text, 'default'), ' ' ORDER BY months)
  FROM (SELECT CASE WHEN c.relname !~ '_default$' THEN
                 (extract(year FROM age) * 12 + extract(month FROM age))::integer END AS months
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid,
             age(CASE WHEN c.relname !~ '_default$' THEN to_date(right(c.relname, 7), 'YYYY_MM')::timestamp END, date_trunc('month', now()::timestamp)) AS age
        WHERE i.inhparent = ('pgalert.' || log)::regclass) AS p
$$;

-- 1: 40,000 keys are some 300 pages; half of them have expired.
INSERT INTO dedup_keys (content_key, content_until, owner) SELECT gen_random_uuid(), now() + (CASE WHEN n % 2 = 0 THEN interval '1 hour' ELSE interval '-1 second' END), gen_random_uuid() FROM generate_series(1, 40000) n;
SELECT purged BETWEEN 1 AND 12500 AS a_part FROM _purge_dedup_keys(100) purged;
SELECT purged BETWEEN 1 AND 12500 AS another_part FROM _purge_dedup_keys(100) purged;
SELECT count(*) FILTER (WHERE content_until <= now()) > 0 AS some_left, count(*) FILTER (WHERE content_until > now()) AS live FROM dedup_keys;
SELECT count(_purge_dedup_keys(100)) FROM generate_series(1, 4);
SELECT count(*) FILTER (WHERE content_until <= now()) AS expired, count(*) FILTER (WHERE content_until > now()) AS live FROM dedup_keys;
UPDATE dedup_keys SET content_until = now() WHERE content_until > now();
SELECT setval('dedup_purge_page', 0);
SELECT (maintain() ->> 'dedup_keys_purged')::bigint AS purged;
SELECT count(*) FROM dedup_keys;
INSERT INTO dedup_keys (day_key, day_until, owner) VALUES (gen_random_uuid(), now() - interval '1 second', gen_random_uuid());
SELECT (maintain() ->> 'dedup_keys_purged')::bigint AS begins_again;

-- 2
SELECT log, pg_temp.months_of(log) FROM unnest('{alert_deliveries,alert_dlq,delivery_failures,suppressed_alerts}'::text[]) log;
SELECT maintain() ? 'partitions_added' AS again_within_the_hour;
SELECT pg_temp.hour_passes();
SELECT maintain() - 'dedup_keys_purged' AS an_hour_later;
DO $$ BEGIN EXECUTE format('DROP TABLE pgalert.alert_dlq_%s', to_char(date_trunc('month', now()) + interval '2 months', 'YYYY_MM')); END $$;
SELECT pg_temp.hour_passes();
SELECT maintain() - 'dedup_keys_purged' AS one_was_missing;
SELECT log, pg_temp.months_of(log) FROM unnest('{alert_deliveries,alert_dlq,delivery_failures,suppressed_alerts}'::text[]) log;
SELECT deliver_alert('{"id": "a"}', 'u1', 'm'), deliver_alert('{"id": "a"}', 'u1', 'm');
SELECT tableoid::regclass::text ~ to_char(now(), '_YYYY_MM$') AS in_this_month FROM alert_deliveries UNION ALL
SELECT tableoid::regclass::text ~ to_char(now(), '_YYYY_MM$') FROM suppressed_alerts;

-- 3: no partition is there any more, and the default has a row of now and one of next month.
DO $$
DECLARE name text;
BEGIN
  FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'pgalert'::regnamespace AND relname ~ '^suppressed_alerts_\d' AND relkind = 'r' LOOP
    EXECUTE format('DROP TABLE pgalert.%I', name);
  END LOOP;
END
$$;
INSERT INTO suppressed_alerts VALUES ('b', 'u1', 'capped', 'h', now()), ('c', 'u1', 'capped', 'h', date_trunc('month', now()) + interval '1 month 1 day');
SELECT pg_temp.hour_passes();
SELECT maintain() - 'dedup_keys_purged' AS with_rows_in_the_way;
SELECT pg_temp.months_of('suppressed_alerts');
SELECT alert_id, tableoid::regclass FROM suppressed_alerts ORDER BY 1;
INSERT INTO suppressed_alerts VALUES ('d', 'u1', 'capped', 'h', date_trunc('month', now()) + interval '2 months 1 day');
SELECT tableoid::regclass::text !~ 'default' AS has_its_month FROM suppressed_alerts WHERE alert_id = 'd';

-- 4: the first month lies before the retention, the second only in part.
SELECT set_setting('retention', '40 days');
SET ROLE pgalert_owner;
SELECT count(_add_partition(log, (date_trunc('month', now() - interval '40 days') - n * interval '1 month')::date))
FROM unnest('{alert_deliveries,alert_dlq,delivery_failures,suppressed_alerts}'::text[]) log, generate_series(0, 1) n;
RESET ROLE;
INSERT INTO delivery_failures (delivery_key, alert_id, channel, attempt, outcome, error_class, error, failed_at)
SELECT gen_random_uuid(), 'f' || days, 'email', 1, 'failed', 'e', 'e', now() - days * interval '1 day' FROM unnest('{39,80,400}'::integer[]) days;
INSERT INTO alert_dlq (alert_id, alert_data, error_message, error_class, state, channels, priority, content_hash, delivery_key, accepted_at, created_at)
SELECT 'l' || days, '{}', 'e', 'e', 'exhausted', '{email}', 'normal', 'h', gen_random_uuid(), now(), now() - days * interval '1 day' FROM unnest('{39,80,400}'::integer[]) days;
INSERT INTO notifications (user_id, alert_id, message, priority, delivery_key, created_at, read_at)
SELECT 'u1', coalesce('read ' || days, 'unread'), 'm', 'normal', gen_random_uuid(), now() - interval '100 days', now() - days * interval '1 day' FROM unnest('{NULL,39,41,100}'::integer[]) days;
SELECT pg_temp.hour_passes();
SELECT done -> 'partitions_dropped' AS dropped, done -> 'notifications_purged' AS purged FROM maintain() done;
SELECT alert_id FROM notifications ORDER BY 1;
SELECT alert_id FROM delivery_failures ORDER BY 1;
SELECT alert_id FROM alert_dlq ORDER BY 1;
SELECT count(*) AS months_before_the_retention
FROM pg_class c WHERE c.relnamespace = 'pgalert'::regnamespace AND c.relkind = 'r' AND c.relname ~ '^(alert_deliveries|delivery_failures|suppressed_alerts)_\d{4}_\d\d$'
  AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= now() - interval '40 days';

-- 5
SELECT pg_temp.hour_passes();
INSERT INTO dedup_keys (day_key, day_until, owner) VALUES (gen_random_uuid(), now() - interval '1 second', gen_random_uuid());
SELECT set_setting('environment', 'production');
SELECT array_agg(k) AS told FROM jsonb_object_keys(maintain()) k;
SELECT count(*) FROM dedup_keys WHERE day_until < now();
