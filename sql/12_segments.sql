-- Segments: the deliveries of one stretch of time, some 65,000 of them. The indexes of alert_deliveries that are not in order of time
-- begin with it, so that new entries, at random places, go into a few MB however many there are, and
-- between two checkpoints few pages are written anew. A search looks into each segment: two steps down an index.

-- The number of a segment that begins at a time: seconds since 2000.
CREATE FUNCTION _segment_at(at timestamptz) RETURNS integer
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT greatest(-2147483648, least(2147483647, extract(epoch FROM at) - 946684800))::integer $$;

SELECT setval('delivery_segment', _segment_at(clock_timestamp()));

-- Begins the next segment. More of them in a second are numbered ahead of the clock.
CREATE FUNCTION _begin_segment() RETURNS bigint
LANGUAGE sql VOLATILE
AS $$ SELECT setval('pgalert.delivery_segment', greatest(s.last_value + 1, _segment_at(clock_timestamp()))) FROM delivery_segment s $$;

-- The same once in a while, so that a segment has 65,536 deliveries on average: nothing is counted, nobody waits. Inlined.
CREATE FUNCTION _next_segment(deliveries bigint) RETURNS bigint
LANGUAGE sql VOLATILE
AS $$ SELECT CASE WHEN random() < deliveries / 65536::double precision THEN _begin_segment() END $$;

-- Segments with deliveries of `since` and later, the newest first. A row is written a moment after its segment was read.
CREATE FUNCTION _segments(since timestamptz DEFAULT '-infinity') RETURNS TABLE (segment integer)
LANGUAGE sql STABLE STRICT ROWS 100 SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
  WITH RECURSIVE each AS (
    SELECT max(d.segment) AS segment FROM alert_deliveries d
    UNION ALL
    SELECT (SELECT max(d.segment) FROM alert_deliveries d WHERE d.segment < each.segment)
    FROM each WHERE each.segment >= _segment_at(since - interval '1 hour')
  )
  SELECT each.segment FROM each WHERE each.segment IS NOT NULL
$$;

-- Deliveries of an alert to a user, or to nobody where that is NULL.
CREATE FUNCTION _deliveries_to(for_user text, for_alert text) RETURNS SETOF alert_deliveries
LANGUAGE sql STABLE
AS $$
  SELECT d.* FROM _segments() s
  CROSS JOIN LATERAL (SELECT d.* FROM alert_deliveries d
                      WHERE d.segment = s.segment AND coalesce(hashtext(d.user_id), 0) = coalesce(hashtext(for_user), 0) AND hashtext(d.alert_id) = hashtext(for_alert)
                        AND d.alert_id = for_alert AND d.user_id IS NOT DISTINCT FROM for_user OFFSET 0) AS d
$$;
