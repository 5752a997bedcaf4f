-- What monitoring reads, in one round trip. Its cost grows neither with the queue nor with the dead letters.

CREATE FUNCTION metrics() RETURNS TABLE (name text, labels jsonb, value double precision)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  WITH counted AS MATERIALIZED (
    SELECT w.what, _count_of(w.what) AS count
    FROM unnest('{queued,delivered,duplicate,capped,no_channels,expired,sent,failed,deferred,retries_delivered,retries_failed,exhausted}'::text[])
      AS w (what)
  ), answer AS (
    SELECT c.what, c.count FROM counted c WHERE c.what IN ('queued', 'delivered', 'duplicate', 'capped', 'no_channels', 'expired')
  ), delivery AS (
    SELECT sum(c.count) AS count FROM counted c WHERE c.what IN ('delivered', 'sent')
  ), series AS (
    SELECT 'pgalert_alerts_total' AS name, jsonb_build_object('result', a.what) AS labels, a.count::double precision AS value FROM answer a
    UNION ALL SELECT 'pgalert_deliveries_total', '{}', d.count FROM delivery d
    UNION ALL SELECT 'pgalert_failures_total', jsonb_build_object('kind', c.what), c.count FROM counted c WHERE c.what IN ('failed', 'deferred')
    UNION ALL SELECT 'pgalert_retries_total', jsonb_build_object('result', substr(c.what, 9)), c.count FROM counted c WHERE c.what LIKE 'retries\_%'
    UNION ALL SELECT 'pgalert_exhausted_total', '{}', c.count FROM counted c WHERE c.what = 'exhausted'
    UNION ALL SELECT 'pgalert_open_claims', '{}', count(*) FROM _open_claims()
    UNION ALL SELECT 'pgalert_held', '{}', (hold_reason() IS NOT NULL)::integer
    UNION ALL SELECT 'pgalert_dead_letters', jsonb_build_object('state', s.state), s.letters FROM dlq_states s
    UNION ALL SELECT g.name, jsonb_build_object('lane', q.lane), g.value
              FROM queue_depth() q
              CROSS JOIN LATERAL (VALUES ('pgalert_queue_messages', q.waiting::double precision),
                                         ('pgalert_queue_oldest_seconds',
                                          coalesce(greatest(extract(epoch FROM clock_timestamp() - q.oldest_at), 0), 0))) AS g (name, value)
  )
  SELECT s.name, jsonb_build_object('scope', 'database') || s.labels, s.value FROM series s
  UNION ALL SELECT 'deliver_alert_calls_total', '{}', sum(a.count) FROM answer a
  UNION ALL SELECT 'alert_deliveries_total', '{}', d.count FROM delivery d
$$;
COMMENT ON FUNCTION metrics() IS 'Counters and gauges of this database, as /metrics of each driver shows them. Counters only grow, over restarts and restores too; a call that was rolled back counts, each alert of deliver_alerts() counts as a call of deliver_alert(), and a call that raised an error does not count. pgalert_queue_messages beyond 2,000 is an upper bound.';
