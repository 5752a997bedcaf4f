-- What one looks at: the queue's depth, who works, and what became of an alert.

-- Messages of a lane that are not claimed, in order, at most max_rows.
CREATE FUNCTION _unclaimed_rows(lane smallint, max_rows bigint) RETURNS SETOF outbox
LANGUAGE plpgsql VOLATILE SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  last claims := _cursor(lane);
  found_rows bigint;
BEGIN
  IF last.upto_xid > '0' THEN
    RETURN QUERY SELECT o.* FROM _window_rows(last.lane, last.lo, last.hi, last.upto_xid, last.upto_id,
                                              '18446744073709551615', 9223372036854775807, max_rows) o;
    GET DIAGNOSTICS found_rows = ROW_COUNT;
  END IF;
  RETURN QUERY SELECT o.* FROM _window_rows(last.lane, last.hi, pg_current_snapshot(), '0', 0,
                                            '18446744073709551615', 9223372036854775807, max_rows - coalesce(found_rows, 0)) o;
END
$$;

CREATE FUNCTION queue_depth() RETURNS TABLE (lane text, waiting bigint, exact boolean, oldest_at timestamptz)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  SELECT _lane_name(l::smallint),
         CASE WHEN d.counted > 2000 THEN greatest(d.counted, (SELECT last_value FROM message_id) - (_cursor(l::smallint)).upto_id) ELSE d.counted END,
         d.counted <= 2000, d.oldest_at
  FROM generate_series(0, 2) l
  CROSS JOIN LATERAL (SELECT count(*) AS counted, min(o.enqueued_at) AS oldest_at FROM _unclaimed_rows(l::smallint, 2001) o) AS d
$$;
COMMENT ON FUNCTION queue_depth() IS 'Messages of each lane that are not claimed. Counts up to 2,000; beyond that an upper bound from message ids, exact is false. Its cost does not grow with the queue. oldest_at: when the oldest was enqueued.';

CREATE FUNCTION open_claims()
RETURNS TABLE (claim_id bigint, lane text, worker text, messages_left integer, claimed_at timestamptz, lease_until timestamptz, takeovers integer)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  SELECT c.claim_id, _lane_name(c.lane), c.worker, c.messages - cardinality((_progress(c.slot, c.claim_id)).finished), c.claimed_at, c.lease_until, c.takeovers
  FROM _open_claims() c
$$;
COMMENT ON FUNCTION open_claims() IS 'Claims in work: who holds how many messages until when (-infinity: given back). takeovers: how often the lease of these messages ran out before.';

CREATE FUNCTION alert_history(alert_id text, user_id text)
RETURNS TABLE (at timestamptz, event text, delivery_key uuid, attempt integer, channels text[], detail text, next_retry_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  WITH outcome AS (
    SELECT d.delivered_at AS at, 'delivered' AS event, d.delivery_key, d.attempt, ARRAY(SELECT jsonb_array_elements_text(d.delivery_methods)) AS channels,
           NULL AS detail, NULL::timestamptz AS next_retry_at, d.accepted_at
    FROM _deliveries_to($2, $1) d
    UNION ALL
    SELECT coalesce(l.last_retry_at, l.created_at), 'dead letter: ' || l.state, l.delivery_key, l.retry_count + 1, l.channels, l.error_message, l.next_retry_at, l.accepted_at
    FROM alert_dlq l WHERE l.alert_id = $1 AND l.user_id IS NOT DISTINCT FROM $2
    UNION ALL
    SELECT o.enqueued_at, 'queued', o.delivery_key, o.attempt, o.channels, NULL, NULL, o.accepted_at
    FROM outbox o WHERE o.alert_id = $1 AND o.user_id IS NOT DISTINCT FROM $2
  )
  SELECT h.* FROM (
    SELECT DISTINCT ON (o.delivery_key) o.accepted_at AS at, 'accepted' AS event, o.delivery_key, 1, NULL::text[], NULL, NULL::timestamptz FROM outcome o
    UNION ALL
    SELECT o.at, o.event, o.delivery_key, o.attempt, o.channels, o.detail, o.next_retry_at FROM outcome o
    UNION ALL
    SELECT f.failed_at, f.outcome, f.delivery_key, f.attempt, ARRAY[f.channel], f.error_class || ': ' || f.error, NULL
    FROM delivery_failures f WHERE f.alert_id = $1 AND f.user_id IS NOT DISTINCT FROM $2
    UNION ALL
    SELECT s.suppressed_at, s.reason, NULL, NULL, NULL, 'content ' || s.content_hash, NULL
    FROM suppressed_alerts s WHERE s.alert_id = $1 AND s.user_id = $2
  ) AS h
  ORDER BY h.at, h.event
$$;
COMMENT ON FUNCTION alert_history(text, text) IS 'What became of an alert for a user, in order of time: accepted, queued, delivered, each failed or deferred attempt, its dead letters with their next retry, and each firing that was refused as duplicate or capped. An alert that still waits in the queue is found by a scan of the outbox.';
