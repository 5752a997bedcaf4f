-- Deliveries, and the attempts on a message.

-- Alert and user of a message that has failed, which lead to its deliveries by an index.
CREATE FUNCTION _failed_message(message_key uuid, OUT alert_id text, OUT user_id text)
LANGUAGE sql STABLE
AS $$
  SELECT d.alert_id, d.user_id FROM alert_dlq d WHERE d.delivery_key = message_key
  UNION ALL SELECT f.alert_id, f.user_id FROM delivery_failures f WHERE f.delivery_key = message_key
  LIMIT 1
$$;

-- Deliveries of a message. Of one that never failed, the time in its key leads to them.
CREATE FUNCTION _deliveries_of(message_key uuid) RETURNS SETOF alert_deliveries
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  failed record;
BEGIN
  SELECT * INTO failed FROM _failed_message(message_key);
  IF failed.alert_id IS NOT NULL THEN
    RETURN QUERY SELECT d.* FROM _deliveries_to(failed.user_id, failed.alert_id) d WHERE d.delivery_key = message_key;
  ELSE
    RETURN QUERY
    SELECT n.* FROM (SELECT d.* FROM alert_deliveries d WHERE d.id >= message_key ORDER BY d.id LIMIT 100000) AS n WHERE n.delivery_key = message_key;
  END IF;
END
$$;

CREATE FUNCTION delivery_attempts(delivery_key uuid)
RETURNS TABLE (at timestamptz, attempt integer, channel text, recipient_id bigint, outcome text, error_class text, error text, host text, duration_ms double precision)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  SELECT f.failed_at, f.attempt, f.channel, f.recipient_id, f.outcome, f.error_class, f.error, f.host, f.duration_ms
  FROM delivery_failures f WHERE f.delivery_key = $1
  UNION ALL
  SELECT d.delivered_at, d.attempt, c, NULL, 'delivered', NULL, NULL, NULL, NULL
  FROM _deliveries_of($1) d CROSS JOIN LATERAL jsonb_array_elements_text(d.delivery_methods) c
  ORDER BY 1, 3
$$;
COMMENT ON FUNCTION delivery_attempts(uuid) IS 'Each attempt on a message, by time: outcome failed, deferred or delivered, with what its receiver said. duration_ms in milliseconds.';

-- The least id of a delivery that is written at a time or after it.
CREATE FUNCTION _least_id(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE
AS $$
  SELECT (lpad(to_hex(greatest(0, least(extract(epoch FROM at) * 1000, 281474976710655))::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

-- looked_at: how many deliveries one call looks through where no index leads to those that are wanted.
CREATE FUNCTION _find_deliveries(filter jsonb, after jsonb, max_rows integer, looked_at integer)
RETURNS TABLE (id uuid, delivered_at timestamptz, alert_id text, user_id text, delivery_methods jsonb, attempt integer, priority text,
               accepted_at timestamptz, seconds double precision, delivery_key uuid, content_hash text, cursor jsonb)
LANGUAGE plpgsql STABLE SET jit = off
AS $$
DECLARE
  given     record;
  failed    record;
  at        timestamptz;
  since     timestamptz := timestamptz '-infinity';
  condition text := 'true';
  among     text := 'true';
  direction text := 'DESC';
  by_index  boolean := filter ? 'user_id';
  found     integer;
BEGIN
  PERFORM _check_filter(filter, '{alert_id,user_id,delivery_key,channel,older_than,newer_than}', '{}'), _check_max_rows(max_rows, 10000);
  FOR given IN SELECT e.key, e.value FROM jsonb_each_text(filter) e LOOP
    CASE given.key
      WHEN 'channel' THEN
        condition := condition || format(' AND d.delivery_methods ? %L', given.value);
      WHEN 'user_id' THEN
        condition := condition || format(' AND coalesce(hashtext(d.user_id), 0) = hashtext(%L) AND d.user_id = %1$L', given.value);
      WHEN 'alert_id' THEN
        condition := condition || format(' AND hashtext(d.alert_id) = hashtext(%L) AND d.alert_id = %1$L', given.value);
      WHEN 'older_than' THEN  -- an id is of the time of its delivery, by one clock
        at := clock_timestamp() - _filter_interval(given.key, given.value);
        condition := condition || format(' AND d.delivered_at <= %L::timestamptz', at);
        among := among || format(' AND n.id < %L::uuid', _least_id(at + interval '1 hour'));
      WHEN 'newer_than' THEN
        at := clock_timestamp() - _filter_interval(given.key, given.value);
        since := at;
        condition := condition || format(' AND d.delivered_at > %L::timestamptz', at);
        among := among || format(' AND n.id >= %L::uuid', _least_id(at - interval '1 hour'));
      WHEN 'delivery_key' THEN
        condition := condition || format(' AND d.delivery_key = %L::uuid', (_filter_uuids(given.key, ARRAY[given.value]))[1]);
        SELECT * INTO failed FROM _failed_message(given.value::uuid);
        IF failed.alert_id IS NOT NULL THEN
          by_index := true;
          condition := condition || format(' AND coalesce(hashtext(d.user_id), 0) = coalesce(hashtext(%L), 0) AND hashtext(d.alert_id) = hashtext(%L)',
                                           failed.user_id, failed.alert_id);
        ELSE  -- it was made before it was delivered: from there on
          direction := 'ASC';
          among := among || format(' AND n.id >= %L::uuid', given.value);
        END IF;
    END CASE;
  END LOOP;
  IF after IS NOT NULL THEN
    among := among || format(' AND n.id %s %L::uuid', CASE direction WHEN 'ASC' THEN '>' ELSE '<' END, _seen_last(after, 'id', 'uuid'));
  END IF;
  RETURN QUERY EXECUTE format($sql$
    SELECT d.id, d.delivered_at, d.alert_id, d.user_id, d.delivery_methods, d.attempt, d.priority, d.accepted_at,
           extract(epoch FROM d.delivered_at - d.accepted_at)::double precision, d.delivery_key, d.content_hash, jsonb_build_object('id', d.id)
    FROM %s ORDER BY d.id %s LIMIT %s
  $sql$, CASE WHEN by_index THEN
           format('_segments(%L) s CROSS JOIN LATERAL (SELECT d.* FROM (SELECT n.* FROM alert_deliveries n WHERE %s) AS d WHERE d.segment = s.segment AND %s OFFSET 0) AS d',
                  since, among, condition)
         ELSE format('(SELECT n.* FROM alert_deliveries n WHERE %s ORDER BY n.id %s LIMIT %s) AS d WHERE %s', among, direction, looked_at, condition) END,
         direction, max_rows);
  GET DIAGNOSTICS found = ROW_COUNT;
  IF found < max_rows AND NOT by_index THEN
    RETURN QUERY EXECUTE format($sql$
      SELECT NULL::uuid, n.delivered_at, NULL::text, NULL::text, NULL::jsonb, NULL::integer, NULL::text, NULL::timestamptz, NULL::double precision,
             NULL::uuid, NULL::text, jsonb_build_object('id', n.id)
      FROM alert_deliveries n WHERE %s ORDER BY n.id %s OFFSET %s LIMIT 1
    $sql$, among, direction, looked_at - 1);
  END IF;
END
$$;

CREATE FUNCTION find_deliveries(filter jsonb DEFAULT '{}', after jsonb DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (id uuid, delivered_at timestamptz, alert_id text, user_id text, delivery_methods jsonb, attempt integer, priority text,
               accepted_at timestamptz, seconds double precision, delivery_key uuid, content_hash text, cursor jsonb)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$ SELECT * FROM _find_deliveries(filter, after, max_rows, 20000) $$;
COMMENT ON FUNCTION find_deliveries(jsonb, jsonb, integer) IS 'Deliveries that match {"alert_id", "user_id", "delivery_key", "channel", "older_than": "1 hour", "newer_than"}, all optional, the newest first (of one key the oldest), up to max_rows (1 to 10000); after: the cursor of the last row seen. Without user_id, or the key of a message that once failed, one call looks through 20,000 deliveries: where it has not come to the end, its last row has no id, and says with delivered_at how far it looked and with cursor where to go on. Raises 22023 for what is no filter.';
