-- Counts while a transaction is held open, so that nothing of what was added up can be removed. Pages looked at are counted, not time.
--   1. What a reader and maintain() look at does not grow with what has happened meanwhile.
--   2. The counts are right all the same, and so they are after the transaction has ended.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
SET client_min_messages = warning;
CREATE FUNCTION pages(command text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
  plan jsonb;
BEGIN
  EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || command INTO plan;
  RETURN (plan #>> '{0,Plan,Shared Hit Blocks}')::bigint + (plan #>> '{0,Plan,Shared Read Blocks}')::bigint;
END
$$;
CREATE FUNCTION work_of(letters integer, deliveries integer) RETURNS void LANGUAGE sql AS $$
  UPDATE pgalert.alert_dlq SET error_class = CASE error_class WHEN 'dns' THEN 'tls' ELSE 'dns' END WHERE alert_id IN (SELECT 'l' || n FROM generate_series(1, letters) n);
  INSERT INTO pgalert.alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
  SELECT 'a', 'u', 'h', '["email", "webhook"]', gen_random_uuid(), 1, 'normal', clock_timestamp() - n * interval '1 second' FROM generate_series(1, deliveries) n;
  INSERT INTO pgalert.delivery_failures (delivery_key, alert_id, user_id, channel, attempt, outcome, error_class, error)
  SELECT gen_random_uuid(), 'a', 'u', 'email', 1, 'failed', 'dns', 'no such host' FROM generate_series(1, deliveries) n;
$$;
-- As many transactions, with an upkeep after each twenty.
CREATE PROCEDURE work(transactions integer) LANGUAGE plpgsql AS $$
BEGIN
  FOR n IN 1 .. transactions LOOP
    PERFORM work_of(5, 3);
    COMMIT;
    IF n % 20 = 0 THEN
      PERFORM pgalert.maintain();
      COMMIT;
    END IF;
  END LOOP;
END
$$;
CREATE TABLE readers (n integer, name text, command text, pages bigint);
INSERT INTO readers VALUES (1, 'dlq_states', 'SELECT * FROM pgalert.dlq_states'), (2, 'dlq_errors', 'SELECT * FROM pgalert.dlq_errors'), (3, 'overview', 'SELECT pgalert.overview()'),
  (4, 'metrics', 'SELECT * FROM pgalert.metrics()'), (5, 'error_groups', 'SELECT * FROM pgalert.error_groups()'), (6, 'count_matching', $$SELECT pgalert.count_matching('{"state": "waiting"}')$$),
  (7, 'retry_stats', 'SELECT * FROM pgalert.retry_stats'), (8, 'delivery_stats_hourly', 'SELECT * FROM pgalert.delivery_stats_hourly'), (9, 'maintain', 'SELECT pgalert.maintain()');
-- What the first call of a session looks at in the catalog is no matter.
CREATE FUNCTION look() RETURNS TABLE (name text, pages bigint) LANGUAGE sql VOLATILE AS $$
  SELECT pages(command) FROM readers;
  SELECT name, pages(command) FROM readers ORDER BY n
$$;
CREATE VIEW differ AS
SELECT s.state, s.letters, count(d.id) AS counted FROM dlq_states s LEFT JOIN alert_dlq d ON d.state = s.state GROUP BY 1, 2 HAVING s.letters <> count(d.id);
SELECT count(push_to_dlq('l' || n, '{"notify_email": true, "message": "m", "user_id": "u"}', 'down')) FROM generate_series(1, 20) n;
SELECT maintain() ? 'dedup_keys_purged' AS maintained;

-- 1
BEGIN;
SELECT pg_current_xact_id() IS NOT NULL AS held;
PREPARE TRANSACTION 'held';
CALL work(200);
UPDATE readers r SET pages = l.pages FROM look() l WHERE l.name = r.name;
CALL work(2000);
SELECT l.name, CASE WHEN l.pages <= 2 * r.pages + 50 THEN 'bounded' ELSE format('%s pages, after a tenth of it %s', l.pages, r.pages) END AS verdict
FROM look() l JOIN readers r USING (name) ORDER BY r.n;

-- 2
SELECT count(*) FROM differ;
SELECT sum(deliveries) AS deliveries, sum(failed) AS failed FROM delivery_stats_hourly WHERE channel = 'email';
ROLLBACK PREPARED 'held';
SELECT maintain() ? 'dedup_keys_purged' AS maintained, (SELECT count(*) FROM differ) AS differ;
CALL work(20);
SELECT count(*) FROM differ;
SELECT sum(deliveries) AS deliveries, sum(failed) AS failed FROM delivery_stats_hourly WHERE channel = 'email';
SELECT what, count(*) FROM added_up GROUP BY 1 ORDER BY 1;
