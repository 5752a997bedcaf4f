-- What monitoring reads, in one round trip. Its cost grows neither with the queue nor with the dead letters, only with the kinds of
-- error that these have.

-- An error's class as a label, of a closed set: of a family its name alone, and "other" for what is not in docs/errors.md.
CREATE FUNCTION _class_label(error_class text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE
    WHEN error_class = ANY ('{connect,dns,http.5xx,smtp.421,smtp.auth,smtp.session,timeout,tls,bad_address,bad_answer,bad_message,bad_secret,blocked_address,
                              breaker_open,channel_not_configured,host_busy,http.3xx,http.410,http.429,http.4xx,internal,no_recipient,rate_limited,
                              refused,secret_refused,smtp.4xx,smtp.5xx,smtp.client,template,expired,lease_lost,reported,unknown}') THEN error_class
    WHEN split_part(error_class, '.', 1) = ANY ('{slack,twilio}') THEN split_part(error_class, '.', 1)
    ELSE 'other'
  END
$$;

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
  ), letter AS MATERIALIZED (
    SELECT c.state, _class_label(c.error_class) AS error_class, c.channels, sum(c.letters) AS count FROM _all_letter_counts() c GROUP BY 1, 2, 3
  ), series AS (
    SELECT 'pgalert_alerts_total' AS name, jsonb_build_object('result', a.what) AS labels, a.count::double precision AS value FROM answer a
    UNION ALL SELECT 'pgalert_deliveries_total', '{}', d.count FROM delivery d
    UNION ALL SELECT 'pgalert_failures_total', jsonb_build_object('kind', c.what), c.count FROM counted c WHERE c.what IN ('failed', 'deferred')
    UNION ALL SELECT 'pgalert_retries_total', jsonb_build_object('result', substr(c.what, 9)), c.count FROM counted c WHERE c.what LIKE 'retries\_%'
    UNION ALL SELECT 'pgalert_exhausted_total', '{}', c.count FROM counted c WHERE c.what = 'exhausted'
    UNION ALL SELECT 'pgalert_open_claims', '{}', count(*) FROM _open_claims()
    UNION ALL SELECT 'pgalert_held', '{}', (hold_reason() IS NOT NULL)::integer
    UNION ALL SELECT 'pgalert_dead_letters', jsonb_build_object('state', s), coalesce(sum(l.count), 0)
              FROM unnest('{waiting,queued,exhausted,permanent,expired}'::text[]) s LEFT JOIN letter l ON l.state = s GROUP BY s
    UNION ALL SELECT 'pgalert_dead_letter_channels', jsonb_build_object('state', l.state, 'channel', c, 'error_class', l.error_class), sum(l.count)
              FROM letter l CROSS JOIN LATERAL unnest(l.channels) c GROUP BY l.state, c, l.error_class HAVING sum(l.count) > 0
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
COMMENT ON FUNCTION metrics() IS 'Counters and gauges of this database, as /metrics of each driver shows them. Counters only grow, over restarts and restores too; a call that was rolled back counts, each alert of deliver_alerts() counts as a call of deliver_alert(), and a call that raised an error does not count. pgalert_queue_messages beyond 2,000 is an upper bound. A letter that owes several channels is in pgalert_dead_letter_channels for each of them.';
