-- What the desk shows: dead letters and their groups, recipients, the overview.
-- A filter gets a plan of its own (EXECUTE), lists are read by key: no page costs more when the tables grow.

CREATE FUNCTION list_dead_letters(filter jsonb DEFAULT '{}', sort text DEFAULT 'newest', after jsonb DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (dlq_id uuid, created_at timestamptz, alert_id text, user_id text, alert_name text, channels text[], state text, error_class text,
               error_message text, retry_count integer, next_retry_at timestamptz, last_retry_at timestamptz, priority text, delivery_key uuid,
               accepted_at timestamptz, cursor jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET enable_sort = off SET jit = off
AS $$
DECLARE
  condition text := _letters_wanted(filter, max_rows, 10000);
  ordering  text;
BEGIN
  CASE sort
    WHEN 'newest' THEN
      ordering := 'd.id DESC';
      IF after IS NOT NULL THEN condition := condition || format(' AND d.id < %L::uuid', _seen_last(after, 'id', 'uuid')); END IF;
    WHEN 'oldest' THEN
      ordering := 'd.id';
      IF after IS NOT NULL THEN condition := condition || format(' AND d.id > %L::uuid', _seen_last(after, 'id', 'uuid')); END IF;
    WHEN 'next_retry' THEN
      ordering := 'd.next_retry_at, d.id';
      condition := condition || ' AND d.state = ''waiting''';
      IF after IS NOT NULL THEN
        condition := condition || format(' AND (d.next_retry_at, d.id) > (%L::timestamptz, %L::uuid)',
                                         _seen_last(after, 'next_retry_at', 'timestamptz'), _seen_last(after, 'id', 'uuid'));
      END IF;
    ELSE
      RAISE EXCEPTION 'there is no order %', coalesce(quote_ident(left(sort, 50)), 'NULL') USING ERRCODE = 'invalid_parameter_value',
        DETAIL = 'Dead letters are listed by age or by their next retry.', HINT = 'Give newest, oldest or next_retry.';
  END CASE;
  RETURN QUERY EXECUTE format($sql$
    SELECT d.id, d.created_at, d.alert_id, d.user_id, d.alert_data ->> 'name', d.channels, d.state, d.error_class, d.error_message, d.retry_count,
           d.next_retry_at, d.last_retry_at, d.priority, d.delivery_key, d.accepted_at, jsonb_build_object('id', d.id, 'next_retry_at', d.next_retry_at)
    FROM alert_dlq d WHERE %s ORDER BY %s LIMIT %s
  $sql$, condition, ordering, max_rows);
END
$$;
COMMENT ON FUNCTION list_dead_letters(jsonb, text, jsonb, integer) IS 'Dead letters that match a filter (see retry_matching), up to max_rows (1 to 10000). sort: newest, oldest, or next_retry (waiting ones alone); after: the cursor of the last row seen. Raises 22023 for what is no filter or order.';

-- Whether letter_counts can answer: it knows kinds of errors, and nothing of single letters.
CREATE FUNCTION _of_kinds(filter jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$ SELECT filter - '{state,error_class,error_group,host,channel,channels}'::text[] = '{}' $$;

CREATE FUNCTION count_matching(filter jsonb, up_to bigint DEFAULT 100000) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET jit = off
AS $$
DECLARE
  condition CONSTANT text := _letters_wanted(filter, up_to, 9223372036854775807);
  letters   bigint;
BEGIN
  IF _of_kinds(filter) THEN
    EXECUTE format('SELECT coalesce(sum(d.letters), 0) FROM _all_letter_counts() d WHERE %s', condition) INTO letters;
    RETURN least(letters, up_to);
  END IF;
  EXECUTE format('SELECT count(*) FROM (SELECT FROM alert_dlq d WHERE %s LIMIT %s) AS l', condition, up_to) INTO letters;
  RETURN letters;
END
$$;
COMMENT ON FUNCTION count_matching(jsonb, bigint) IS 'How many dead letters match a filter (see retry_matching); counts up to up_to. Raises 22023 for what is no filter.';

CREATE FUNCTION dead_letter(dlq_id uuid)
RETURNS TABLE (id uuid, created_at timestamptz, alert_id text, user_id text, alert_name text, channels text[], state text, error_class text,
               error_message text, retry_count integer, next_retry_at timestamptz, last_retry_at timestamptz, priority text, delivery_key uuid,
               accepted_at timestamptz, alert_data jsonb, message text, recipients jsonb, owed_recipients jsonb, deferrals integer, expires_at timestamptz,
               host text, error_group text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  RETURN QUERY
  SELECT d.id, d.created_at, d.alert_id, d.user_id, d.alert_data ->> 'name', d.channels, d.state, d.error_class, d.error_message, d.retry_count,
         d.next_retry_at, d.last_retry_at, d.priority, d.delivery_key, d.accepted_at, d.alert_data, d.alert_data ->> 'message',
         coalesce((SELECT jsonb_agg(jsonb_build_object('recipient_id', r.recipient_id, 'channel', r.channel, 'address', r.address,
                                                       'disabled_at', r.disabled_at, 'disabled_reason', r.disabled_reason) ORDER BY r.channel, r.recipient_id)
                   FROM recipients r WHERE r.user_id = d.user_id AND r.channel = ANY (d.channels)), '[]'),
         d.owed_recipients, d.deferrals, d.expires_at, d.host, d.error_group
  FROM alert_dlq d WHERE d.id = dlq_id;
  IF NOT FOUND THEN
    PERFORM _no_such_letter(dlq_id);
  END IF;
END
$$;
COMMENT ON FUNCTION dead_letter(uuid) IS 'One dead letter with all that was to be sent and the addresses of its channels, [{"recipient_id", "channel", "address", "disabled_at", "disabled_reason"}]. Raises P0002 where there is none.';

CREATE FUNCTION error_groups(filter jsonb DEFAULT '{}', max_rows integer DEFAULT 50)
RETURNS TABLE (error_class text, channel text, host text, error_group text, letters bigint, first_at timestamptz, last_at timestamptz, per_hour jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET jit = off
AS $$
DECLARE
  condition CONSTANT text := _letters_wanted(filter, max_rows, 10000);
BEGIN
  RETURN QUERY EXECUTE format($sql$
    WITH hourly AS MATERIALIZED (
      SELECT f.error_class, f.host, f.error_group, date_trunc('hour', f.at, 'UTC') AS hour, sum(f.failures) AS failures
      FROM _all_failure_stats f WHERE f.at > clock_timestamp() - interval '24 hours' GROUP BY 1, 2, 3, 4
    )
    SELECT g.error_class, array_to_string(g.channels, ','), g.host, g.error_group, g.letters, g.first_at, g.last_at,
           (SELECT coalesce(jsonb_agg(jsonb_build_array(h.hour, h.failures) ORDER BY h.hour), '[]') FROM hourly h
            WHERE h.error_class = g.error_class AND h.host = coalesce(g.host, '') AND h.error_group = g.error_group)
    FROM (%s) AS g ORDER BY g.letters DESC, g.last_at DESC LIMIT %s
  $sql$, CASE WHEN _of_kinds(filter) THEN format($kinds$
      SELECT d.error_class, d.channels, d.host, d.error_group, sum(d.letters)::bigint AS letters, min(d.first_at) AS first_at, max(d.last_at) AS last_at
      FROM _all_letter_counts() d WHERE %s GROUP BY 1, 2, 3, 4 HAVING sum(d.letters) > 0 $kinds$, condition)
    ELSE format($letters$
      SELECT d.error_class, d.channels, d.host, d.error_group, count(*) AS letters, min(d.created_at) AS first_at, max(d.created_at) AS last_at
      FROM (SELECT d.* FROM alert_dlq d WHERE %s LIMIT 100000) AS d GROUP BY 1, 2, 3, 4 $letters$, condition) END, max_rows);
END
$$;
COMMENT ON FUNCTION error_groups(jsonb, integer) IS 'Dead letters that match a filter (see retry_matching) by class, channels, host and kind of error, the largest groups first; channel: those owed, with commas between; per_hour: attempts with that error in the last 24 hours, [[hour, count], ...]. With a filter of single letters up to 100,000 of them are grouped. Raises 22023 for what is no filter.';

CREATE FUNCTION recipient_health(for_user text DEFAULT NULL, after_id bigint DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (recipient_id bigint, user_id text, channel text, address text, disabled_at timestamptz, disabled_reason text,
               failures_24h bigint, last_failure_at timestamptz, last_error_class text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET jit = off
AS $$
BEGIN
  PERFORM _check_max_rows(max_rows, 10000);
  RETURN QUERY
  SELECT r.recipient_id, r.user_id, r.channel, r.address, r.disabled_at, r.disabled_reason,
         (SELECT count(*) FROM (SELECT FROM delivery_failures f WHERE f.recipient_id = r.recipient_id AND f.outcome = 'failed'
                                AND f.failed_at > clock_timestamp() - interval '24 hours' LIMIT 1000) AS f),
         l.failed_at, l.error_class
  FROM (SELECT r.* FROM recipients r
        WHERE (for_user IS NULL OR r.user_id = for_user) AND r.recipient_id > coalesce(after_id, 0)
        ORDER BY r.recipient_id LIMIT max_rows) AS r
  LEFT JOIN LATERAL (SELECT f.failed_at, f.error_class FROM delivery_failures f WHERE f.recipient_id = r.recipient_id
                     ORDER BY f.failed_at DESC LIMIT 1) AS l ON true
  ORDER BY r.recipient_id;
END
$$;
COMMENT ON FUNCTION recipient_health(text, bigint, integer) IS 'Addresses of one user or of all, by recipient_id behind after_id, up to max_rows (1 to 10000), with how often each failed in the last 24 hours (counted up to 1000) and its last failure.';

CREATE FUNCTION overview(period interval DEFAULT '1 hour') RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp SET jit = off
AS $$
DECLARE
  now    timestamptz := clock_timestamp();
  bucket interval;
  since  timestamptz;
  answer jsonb;
BEGIN
  IF period IS NULL OR NOT period BETWEEN '1 minute' AND '100 days' THEN
    RAISE EXCEPTION 'period is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(period::text, 'NULL')), HINT = 'Give an interval from 1 minute to 100 days.';
  END IF;
  bucket := CASE WHEN period <= '2 hours' THEN interval '1 minute' WHEN period <= '2 days' THEN interval '1 hour' ELSE interval '6 hours' END;
  since := date_bin(bucket, now - period, '2000-01-01 00:00+00') + bucket;
  WITH delivery AS MATERIALIZED (
    SELECT date_bin(bucket, s.at, '2000-01-01 00:00+00') AS at, s.channel, s.seconds, sum(s.deliveries)::bigint AS deliveries, sum(s.by_retry)::bigint AS by_retry
    FROM _all_delivery_stats s WHERE s.at >= since GROUP BY 1, 2, 3
  ), failure AS MATERIALIZED (
    SELECT date_bin(bucket, s.at, '2000-01-01 00:00+00') AS at, s.channel, s.error_class,
           sum(s.failures) FILTER (WHERE s.outcome = 'failed')::bigint AS failed, sum(s.failures) FILTER (WHERE s.outcome = 'deferred')::bigint AS deferred
    FROM _all_failure_stats s WHERE s.at >= since GROUP BY 1, 2, 3
  ), by_time AS (
    SELECT b.at, coalesce(d.n, 0) AS delivered, coalesce(f.failed, 0) AS failed, coalesce(f.deferred, 0) AS deferred
    FROM generate_series(since, now, bucket) AS b (at)
    LEFT JOIN (SELECT at, sum(deliveries) AS n FROM delivery GROUP BY at) AS d USING (at)
    LEFT JOIN (SELECT at, sum(failed) AS failed, sum(deferred) AS deferred FROM failure GROUP BY at) AS f USING (at)
  ), by_channel AS (
    SELECT channel, coalesce(d.n, 0) AS delivered, coalesce(f.n, 0) AS failed
    FROM (SELECT channel, sum(deliveries) AS n FROM delivery GROUP BY channel) AS d
    FULL JOIN (SELECT channel, sum(failed) AS n FROM failure GROUP BY channel) AS f USING (channel)
  ), by_class AS (
    SELECT array_agg(c.seconds) AS classes, array_agg(c.n) AS counts FROM (SELECT seconds, sum(deliveries)::bigint AS n FROM delivery GROUP BY seconds) AS c
  )
  SELECT jsonb_build_object(
    'at', now, 'hold_reason', hold_reason(),
    'queue', (SELECT jsonb_agg(to_jsonb(q)) FROM queue_depth() q),
    'claims', (SELECT jsonb_build_object('open', count(*), 'workers', count(DISTINCT c.worker), 'messages', coalesce(sum(c.messages_left), 0)) FROM open_claims() c),
    'dlq', (SELECT jsonb_object_agg(s.state, s.letters) FROM dlq_states s),
    'rates', jsonb_build_object('delivered', (SELECT coalesce(sum(deliveries), 0) FROM delivery), 'failed', (SELECT coalesce(sum(failed), 0) FROM failure),
                                'deferred', (SELECT coalesce(sum(deferred), 0) FROM failure), 'retried', (SELECT coalesce(sum(by_retry), 0) FROM delivery)),
    'series', (SELECT jsonb_agg(to_jsonb(t) ORDER BY t.at) FROM by_time t),
    'channels', (SELECT coalesce(jsonb_agg(jsonb_build_object('channel', c.channel, 'delivered', c.delivered, 'failed', c.failed,
                          'success_rate', round(c.delivered / nullif(c.delivered + c.failed, 0), 4)) ORDER BY c.channel), '[]') FROM by_channel c),
    'seconds', (SELECT jsonb_build_object('p50', _percentile(b.classes, b.counts, 0.5), 'p99', _percentile(b.classes, b.counts, 0.99)) FROM by_class b),
    'errors', (SELECT coalesce(jsonb_agg(jsonb_build_object('error_class', e.error_class, 'count', e.n)), '[]')
               FROM (SELECT error_class, sum(coalesce(failed, 0) + coalesce(deferred, 0)) AS n FROM failure GROUP BY error_class ORDER BY 2 DESC, 1 LIMIT 10) AS e)
  ) INTO answer;
  RETURN answer;
END
$$;
COMMENT ON FUNCTION overview(interval) IS 'All of the first page of the desk as one object: hold_reason, queue, claims, dlq by state, rates of the period (1 minute to 100 days), series (by the minute up to 2 hours, by the hour up to 2 days, else by 6 hours), channels, seconds (p50 and p99 from accepted to delivered), errors (the 10 most frequent classes).';
