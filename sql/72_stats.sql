-- Statistics of deliveries and failures: appended by triggers of the logs, added up by maintain().

-- A duration of a class, in seconds: 8 classes to a power of ten of milliseconds, 0 is up to one, 80 is the last.
CREATE FUNCTION _class_seconds(class smallint) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pgalert, pg_temp
AS $$ SELECT CASE class WHEN 0 THEN 0.0005 ELSE 10 ^ ((class - 0.5) / 8) / 1000 END::double precision $$;

-- By minute, channel and class of the time from accepted to delivered.
CREATE FUNCTION _count_deliveries() RETURNS trigger
LANGUAGE c SECURITY DEFINER SET search_path = pgalert, pg_temp
AS 'MODULE_PATHNAME', '_count_deliveries_wrapper';
CREATE TRIGGER counted AFTER INSERT ON alert_deliveries REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION _count_deliveries();

CREATE FUNCTION _count_failures() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  IF _restoring() THEN
    RETURN NULL;
  END IF;
  INSERT INTO failure_stats_new
  SELECT date_trunc('minute', f.failed_at, 'UTC'), '1 minute', f.channel, f.outcome, f.error_class, coalesce(f.host, ''),
         _error_group(f.channel || ': ' || f.error), count(*)
  FROM new_rows f
  GROUP BY 1, 3, 4, 5, 6, 7;
  RETURN NULL;
END
$$;
CREATE TRIGGER counted AFTER INSERT ON delivery_failures REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION _count_failures();

-- Moves what has come into the sums, and minutes of some hours ago into hours. Late rows come as what they would be by now.
CREATE FUNCTION _add_up_deliveries(hours_before timestamptz, drop_before timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  last  CONSTANT added_up := _last_added_up('deliveries');
  taken pg_snapshot;
BEGIN
  WITH new AS (DELETE FROM delivery_stats_new n WHERE n.xid >= last.below OR n.xid = ANY (last.open) RETURNING *),
  old AS (DELETE FROM delivery_stats d WHERE d.width = '1 minute' AND d.at >= coalesce(last.minutes_from, '-infinity') AND d.at < hours_before RETURNING *),
  moved AS (
    SELECT n.at, n.channel, n.seconds, n.deliveries, n.by_retry, n.retries FROM new n
    UNION ALL SELECT o.at, o.channel, o.seconds, o.deliveries, o.by_retry, o.retries FROM old o
  ), sums AS (
    INSERT INTO delivery_stats AS s
    SELECT CASE WHEN m.at < hours_before THEN date_trunc('hour', m.at, 'UTC') ELSE m.at END,
           CASE WHEN m.at < hours_before THEN interval '1 hour' ELSE interval '1 minute' END,
           m.channel, m.seconds, sum(m.deliveries), sum(m.by_retry), sum(m.retries)
    FROM moved m WHERE m.at >= drop_before
    GROUP BY 1, 2, 3, 4 ORDER BY 2, 1, 3, 4
    ON CONFLICT ON CONSTRAINT delivery_stats_pkey DO UPDATE
    SET deliveries = s.deliveries + excluded.deliveries, by_retry = s.by_retry + excluded.by_retry, retries = s.retries + excluded.retries
  )
  SELECT pg_current_snapshot() INTO taken FROM moved LIMIT 1;
  IF FOUND THEN
    PERFORM _end_adding_up(last, taken, minutes_from => hours_before);
  END IF;
  DELETE FROM delivery_stats d WHERE d.width = '1 hour' AND d.at < drop_before;
END
$$;

CREATE FUNCTION _add_up_failures(hours_before timestamptz, drop_before timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  last  CONSTANT added_up := _last_added_up('failures');
  taken pg_snapshot;
BEGIN
  WITH new AS (DELETE FROM failure_stats_new n WHERE n.xid >= last.below OR n.xid = ANY (last.open) RETURNING *),
  old AS (DELETE FROM failure_stats f WHERE f.width = '1 minute' AND f.at >= coalesce(last.minutes_from, '-infinity') AND f.at < hours_before RETURNING *),
  moved AS (
    SELECT n.at, n.channel, n.outcome, n.error_class, n.host, n.error_group, n.failures FROM new n
    UNION ALL SELECT o.at, o.channel, o.outcome, o.error_class, o.host, o.error_group, o.failures FROM old o
  ), sums AS (
    INSERT INTO failure_stats AS s
    SELECT CASE WHEN m.at < hours_before THEN date_trunc('hour', m.at, 'UTC') ELSE m.at END,
           CASE WHEN m.at < hours_before THEN interval '1 hour' ELSE interval '1 minute' END,
           m.channel, m.outcome, m.error_class, m.host, m.error_group, sum(m.failures)
    FROM moved m WHERE m.at >= drop_before
    GROUP BY 1, 2, 3, 4, 5, 6, 7 ORDER BY 2, 1, 3, 4, 5, 6, 7
    ON CONFLICT ON CONSTRAINT failure_stats_pkey DO UPDATE SET failures = s.failures + excluded.failures
  )
  SELECT pg_current_snapshot() INTO taken FROM moved LIMIT 1;
  IF FOUND THEN
    PERFORM _end_adding_up(last, taken, minutes_from => hours_before);
  END IF;
  DELETE FROM failure_stats f WHERE f.width = '1 hour' AND f.at < drop_before;
END
$$;

CREATE FUNCTION _add_up_stats() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  hours_before CONSTANT timestamptz := date_trunc('hour', clock_timestamp() - interval '3 hours', 'UTC');
  drop_before  CONSTANT timestamptz := clock_timestamp() - setting('retention')::interval;
BEGIN
  IF _may_add_up() THEN
    PERFORM _add_up_deliveries(hours_before, drop_before);
    PERFORM _add_up_failures(hours_before, drop_before);
  END IF;
END
$$;

CREATE FUNCTION _new_delivery_stats() RETURNS SETOF delivery_stats_new
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  last CONSTANT added_up := _last_added_up('deliveries');
BEGIN
  RETURN QUERY
  SELECT n.* FROM delivery_stats_new n WHERE n.xid >= last.below
  UNION ALL SELECT n.* FROM delivery_stats_new n WHERE n.xid = ANY (last.open);
END
$$;

CREATE FUNCTION _new_failure_stats() RETURNS SETOF failure_stats_new
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  last CONSTANT added_up := _last_added_up('failures');
BEGIN
  RETURN QUERY
  SELECT n.* FROM failure_stats_new n WHERE n.xid >= last.below
  UNION ALL SELECT n.* FROM failure_stats_new n WHERE n.xid = ANY (last.open);
END
$$;

-- With what is not added up yet, so that a reader is never behind. Minutes and hours apart: of each the key leads to the time.
CREATE VIEW _all_delivery_stats AS
SELECT s.at, s.channel, s.seconds, s.deliveries, s.by_retry, s.retries FROM delivery_stats s WHERE s.width = '1 hour'
UNION ALL
SELECT s.at, s.channel, s.seconds, s.deliveries, s.by_retry, s.retries FROM delivery_stats s
WHERE s.width = '1 minute' AND s.at >= coalesce((SELECT a.minutes_from FROM added_up a WHERE a.what = 'deliveries' ORDER BY a.id DESC LIMIT 1), '-infinity')
UNION ALL
SELECT n.at, n.channel, n.seconds, n.deliveries, n.by_retry, n.retries FROM _new_delivery_stats() n;
COMMENT ON VIEW _all_delivery_stats IS 'delivery_stats with what is not added up yet.';
CREATE VIEW _all_failure_stats AS
SELECT s.at, s.channel, s.outcome, s.error_class, s.host, s.error_group, s.failures FROM failure_stats s WHERE s.width = '1 hour'
UNION ALL
SELECT s.at, s.channel, s.outcome, s.error_class, s.host, s.error_group, s.failures FROM failure_stats s
WHERE s.width = '1 minute' AND s.at >= coalesce((SELECT a.minutes_from FROM added_up a WHERE a.what = 'failures' ORDER BY a.id DESC LIMIT 1), '-infinity')
UNION ALL
SELECT n.at, n.channel, n.outcome, n.error_class, n.host, n.error_group, n.failures FROM _new_failure_stats() n;
COMMENT ON VIEW _all_failure_stats IS 'failure_stats with what is not added up yet.';

-- The duration that a share of what has been counted did not exceed; of a class, and so within a sixth.
CREATE FUNCTION _percentile(classes smallint[], counts bigint[], share double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE SET search_path = pgalert, pg_temp
AS $$
  SELECT _class_seconds(c.class)
  FROM (SELECT u.class, sum(u.n) OVER (ORDER BY u.class) AS upto, sum(u.n) OVER () AS total
        FROM unnest(classes, counts) AS u (class, n)) AS c
  WHERE c.upto >= share * c.total AND c.total > 0
  ORDER BY c.class LIMIT 1
$$;

CREATE VIEW delivery_stats_hourly AS
SELECT d.hour, d.channel, d.deliveries, coalesce(f.failed, 0) AS failed, coalesce(f.deferred, 0) AS deferred,
       round(d.deliveries::numeric / nullif(d.deliveries + coalesce(f.failed, 0), 0), 4) AS success_rate, d.p50_seconds, d.p99_seconds
FROM (SELECT c.hour, c.channel, sum(c.deliveries)::bigint AS deliveries,
             _percentile(array_agg(c.seconds), array_agg(c.deliveries), 0.5) AS p50_seconds,
             _percentile(array_agg(c.seconds), array_agg(c.deliveries), 0.99) AS p99_seconds
      FROM (SELECT date_trunc('hour', s.at, 'UTC') AS hour, s.channel, s.seconds, sum(s.deliveries)::bigint AS deliveries
            FROM _all_delivery_stats s GROUP BY 1, 2, 3
            UNION ALL
            SELECT DISTINCT date_trunc('hour', f.at, 'UTC'), f.channel, 0::smallint, 0::bigint FROM _all_failure_stats f) AS c
      GROUP BY c.hour, c.channel) AS d
LEFT JOIN (SELECT date_trunc('hour', f.at, 'UTC') AS hour, f.channel, sum(f.failures) FILTER (WHERE f.outcome = 'failed')::bigint AS failed,
                  sum(f.failures) FILTER (WHERE f.outcome = 'deferred')::bigint AS deferred
           FROM _all_failure_stats f GROUP BY 1, 2) AS f ON f.hour = d.hour AND f.channel = d.channel;
COMMENT ON VIEW delivery_stats_hourly IS 'Each hour and channel: deliveries, attempts that failed or were deferred, success_rate (deliveries of deliveries and failures), and the time from accepted to delivered in seconds (p50, p99; of classes, within a sixth).';

CREATE VIEW dlq_errors AS
SELECT c.state, c.error_class, array_to_string(c.channels, ',') AS channel, c.host, c.error_group, sum(c.letters)::bigint AS letters, min(c.first_at) AS first_at, max(c.last_at) AS last_at
FROM _all_letter_counts() c GROUP BY 1, 2, 3, 4, 5 HAVING sum(c.letters) > 0;
COMMENT ON VIEW dlq_errors IS 'Dead letters by state and kind of error: how many, and when the first and the last of them came. channel: those owed, with commas between.';

CREATE VIEW retry_stats AS
SELECT date_trunc('hour', s.at, 'UTC') AS hour, s.channel, sum(s.deliveries)::bigint AS deliveries, sum(s.by_retry)::bigint AS by_retry,
       round(sum(s.by_retry)::numeric / sum(s.deliveries), 4) AS share_saved,
       round(sum(s.retries)::numeric / sum(s.deliveries), 4) AS average_retries
FROM _all_delivery_stats s GROUP BY 1, 2;
COMMENT ON VIEW retry_stats IS 'Each hour and channel: deliveries, how many and which share of them a retry saved, and the average number of retries before a delivery.';
