-- Fire many alerts in one statement, with the same rules as deliver_alert, element by element in order.

CREATE TYPE firing AS (
  ordinal       integer,
  ended         text,          -- decided without deduplication: no_channels, expired
  message_key   uuid,
  alert_id      text,
  alert_name    text,
  user_id       text,
  message       text,
  priority      text,
  lane          smallint,
  channels      text[],
  content_hash  text,
  content_key   uuid,
  content_until timestamptz,
  day_keys      uuid[],
  day_until     timestamptz,
  expires_at    timestamptz,
  traceparent   text,
  alert_data    jsonb
);
COMMENT ON TYPE firing IS 'One element of deliver_alerts() that is checked and not yet decided.';

-- Checks elements and gives them their keys, in their order. Raises the first fault as deliver_alert would.
CREATE FUNCTION _prepare_firings(alerts jsonb[], at timestamptz) RETURNS firing[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  firings firing[];
  named   record;
BEGIN
  PERFORM _check_text_fields(alerts);
  FOR named IN SELECT DISTINCT unnest(alerts) -> 'alert' ->> 'priority' AS priority LOOP
    PERFORM _delivery_context(coalesce(named.priority, 'normal'));  -- refuses an unknown policy
  END LOOP;
  WITH context AS MATERIALIZED (  -- looked up once, not for each element
    SELECT p.name, x.* FROM all_policies p CROSS JOIN LATERAL _delivery_context(p.name) x
  )
  SELECT array_agg(ROW(
      f.ordinal,
      CASE WHEN f.channels = '{}' THEN 'no_channels' WHEN f.expires_at <= at THEN 'expired' END,
      f.message_key, f.alert_id, f.alert_name, f.user_id, f.message, f.priority, c.lane, f.channels, f.content_hash,
      CASE WHEN f.keep_for > '0' OR f.keep_for IS NULL AND c.dedup_window > '0' THEN f.content_key END,
      at + coalesce(f.keep_for, c.dedup_window), _day_keys(f.user_id, f.alert_id, c.day, c.daily_limit), c.day_end, f.expires_at,
      f.traceparent, f.alert_data)::firing)
  INTO firings
  FROM (SELECT e.ordinal, e.user_id, e.message, e.traceparent, (e.element ->> 'dedup_window')::interval AS keep_for,
               (e.fired).alert_id, (e.fired).alert_name, (e.fired).priority, (e.fired).channels, (e.fired).content_hash,
               (e.fired).content_key, (e.fired).message_key, (e.fired).expires_at::timestamptz,
               (e.fired).alert_data
        FROM (SELECT u.*, _read_alert(u.element -> 'alert', u.user_id, u.message, u.traceparent, false) AS fired
              FROM (SELECT ordinal, element, element ->> 'user_id' AS user_id, element ->> 'message' AS message,
                           element ->> 'traceparent' AS traceparent
                    FROM unnest(alerts) WITH ORDINALITY AS u (element, ordinal) OFFSET 0) AS u OFFSET 0) AS e OFFSET 0) AS f
  CROSS JOIN LATERAL (SELECT * FROM context c WHERE c.name = f.priority OFFSET 0) AS c;  -- which keeps their order
  PERFORM _check_window((element ->> 'dedup_window')::interval) FROM unnest(alerts) element WHERE element ? 'dedup_window';
  PERFORM _check_channels(array_agg(DISTINCT name)) FROM unnest(firings) f, unnest(f.channels) name;
  RETURN firings;
END
$$;

-- The same, naming the element at fault. The block writes nothing, so it costs no transaction id.
CREATE FUNCTION _prepare_firings_named(alerts jsonb[], at timestamptz) RETURNS firing[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  elements jsonb[];
  first    integer := 1;
  last     integer := cardinality(alerts);
  state    text;
  problem  text;
  detail   text;
  hint     text;
BEGIN
  BEGIN
    RETURN _prepare_firings(alerts, at);
  EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation OR program_limit_exceeded THEN
    NULL;  -- below it is found which element it was, by halves: of each call that fails one half does
  END;
  elements := alerts[:];  -- numbered from 1
  WHILE first < last LOOP
    BEGIN
      PERFORM _prepare_firings(elements[first : (first + last) / 2], at);
      first := (first + last) / 2 + 1;
    EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation OR program_limit_exceeded THEN
      last := (first + last) / 2;
    END;
  END LOOP;
  BEGIN
    PERFORM _prepare_firings(elements[first : first], at);
  EXCEPTION WHEN data_exception OR syntax_error_or_access_rule_violation OR program_limit_exceeded THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, problem = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RAISE EXCEPTION '%', problem USING ERRCODE = state, HINT = hint,
      DETAIL = rtrim(format('Element %s of alerts. %s', first, detail));
  END;
  RETURN _prepare_firings(alerts, at);
END
$$;

CREATE FUNCTION deliver_alerts(alerts jsonb[]) RETURNS TABLE (ordinal integer, status text, delivery_key uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  undecided CONSTANT integer := -3;
  not_asked CONSTANT integer := -4;
  started   timestamptz := clock_timestamp();
  firings   firing[];
  verdicts  integer[];  -- for each firing the place in the day that it was admitted to, -1 duplicate, -2 capped, or one of the two above
  hoped     integer[];  -- the same, if no other session is faster
  some_expired boolean;  -- keys that are wanted have run out, and are not purged yet
  wanted    bigint;
  got       bigint;
  deliveries bigint;
BEGIN
  IF alerts IS NULL OR array_ndims(alerts) > 1 THEN
    RAISE EXCEPTION 'alerts must be an array of one dimension' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = CASE WHEN alerts IS NULL THEN 'It is NULL.' ELSE format('It has %s dimensions.', array_ndims(alerts)) END,
      HINT = 'Each element is {"alert": {...}, "user_id": "...", "message": "..."}.';
  END IF;
  firings := _prepare_firings_named(alerts, started);
  verdicts := ARRAY(SELECT CASE WHEN f.ended IS NULL THEN undecided ELSE not_asked END FROM unnest(firings) f);

  WHILE undecided = ANY (verdicts) LOOP
    SELECT _admit(verdicts, undecided, array_agg(f.content_key), array_agg(coalesce(f.content_taken_until > started, false)),
                  array_agg(f.day_keys[1]), array_agg(coalesce(cardinality(f.day_keys), 0)), array_agg(f.days[1])),
           bool_or(f.content_taken_until <= started OR f.days[2] > 0)
    INTO hoped, some_expired
    FROM (SELECT f.content_key, f.day_keys,
                 (SELECT k.content_until FROM dedup_keys k WHERE k.content_key = f.content_key) AS content_taken_until,
                 (SELECT ARRAY[coalesce(bit_or(1::bigint << (d.place - 1)::integer) FILTER (WHERE d.taken_until > started), 0),
                               count(*) FILTER (WHERE d.taken_until <= started)]
                  FROM (SELECT u.place, (SELECT k.day_until FROM dedup_keys k WHERE k.day_key = u.key) AS taken_until
                        FROM unnest(f.day_keys) WITH ORDINALITY AS u (key, place) OFFSET 0) AS d) AS days  -- bits of the places taken, how many have expired
          FROM unnest(firings) f OFFSET 0) AS f;
    -- Where another session has won a key since the look, all of it is undone and decided again: whoever waits with keys in hand, for
    -- keys that come before them, may wait for ever.
    BEGIN
      IF some_expired THEN
        PERFORM _free_expired(array_agg(f.day_keys[hoped[f.ordinal]]), array_agg(f.content_key), started)
        FROM unnest(firings) f WHERE verdicts[f.ordinal] = undecided AND hoped[f.ordinal] >= 0;
      END IF;

      WITH hopeful AS MATERIALIZED (
        SELECT f.message_key, f.day_keys[hoped[f.ordinal]] AS day_key, f.day_until, f.content_key, f.content_until
        FROM unnest(firings) f WHERE verdicts[f.ordinal] = undecided AND hoped[f.ordinal] >= 0
      ), reserved AS (
        INSERT INTO dedup_keys (day_key, day_until, content_key, content_until, owner)
        SELECT k.day_key, k.day_until, k.content_key, k.content_until, k.owner
        FROM (SELECT h.day_key, h.day_until, NULL::uuid AS content_key, NULL::timestamptz AS content_until, h.message_key AS owner
              FROM hopeful h WHERE h.day_key IS NOT NULL
              UNION ALL
              SELECT NULL, NULL, h.content_key, h.content_until, h.message_key FROM hopeful h WHERE h.content_key IS NOT NULL) AS k
        ORDER BY k.day_key NULLS LAST, k.content_key
        ON CONFLICT DO NOTHING
        RETURNING 1
      )
      SELECT (SELECT count(h.day_key) + count(h.content_key) FROM hopeful h), (SELECT count(*) FROM reserved) INTO wanted, got;

      IF wanted > got THEN
        RAISE SQLSTATE 'PA003';
      END IF;
      verdicts := hoped;
    EXCEPTION WHEN SQLSTATE 'PA003' THEN
      NULL;
    END;
  END LOOP;

  INSERT INTO suppressed_alerts (alert_id, user_id, reason, content_hash)
  SELECT f.alert_id, f.user_id, CASE verdicts[f.ordinal] WHEN -1 THEN 'duplicate' ELSE 'capped' END, f.content_hash
  FROM unnest(firings) f WHERE f.ended IS NULL AND verdicts[f.ordinal] < 0;

  INSERT INTO alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, priority, content_hash,
                         delivery_key, accepted_at, expires_at, traceparent)
  SELECT f.alert_id, f.user_id, f.alert_data, _expired_before_sending(), 'expired', 'expired', f.channels, f.priority,
         f.content_hash, f.message_key, started, f.expires_at, f.traceparent
  FROM unnest(firings) f WHERE f.ended = 'expired';

  INSERT INTO notifications (user_id, alert_id, alert_name, message, priority, delivery_key)
  SELECT f.user_id, f.alert_id, f.alert_name, f.message, f.priority, f.message_key
  FROM unnest(firings) f WHERE verdicts[f.ordinal] >= 0 AND 'inapp' = ANY (f.channels);
  IF FOUND THEN
    PERFORM _wake_inbox(u.user_id)
    FROM (SELECT DISTINCT f.user_id FROM unnest(firings) f WHERE verdicts[f.ordinal] >= 0 AND 'inapp' = ANY (f.channels)) u;
  END IF;

  INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
  SELECT f.alert_id, f.user_id, f.content_hash, '["inapp"]', f.message_key, 1, f.priority, started
  FROM unnest(firings) f WHERE verdicts[f.ordinal] >= 0 AND f.channels = '{inapp}';
  GET DIAGNOSTICS deliveries = ROW_COUNT;
  PERFORM _next_segment(deliveries);

  INSERT INTO outbox (slot, lane, install_id, delivery_key, alert_id, user_id, priority, channels, delivered_channels,
                      content_hash, content_key, day_key, bytes, accepted_at, enqueued_at, expires_at, traceparent, alert_data)
  SELECT (SELECT _outbox_slot()), f.lane, _install_id(), f.message_key, f.alert_id, f.user_id, f.priority,
         array_remove(f.channels, 'inapp'), CASE WHEN 'inapp' = ANY (f.channels) THEN '{inapp}' ELSE '{}' END::text[],
         f.content_hash, f.content_key, f.day_keys[verdicts[f.ordinal]], pg_column_size(f.alert_data), started, started,
         f.expires_at, f.traceparent, f.alert_data
  FROM unnest(firings) f WHERE verdicts[f.ordinal] >= 0 AND f.channels <> '{inapp}'
  ORDER BY f.ordinal;
  IF FOUND THEN
    PERFORM _wake_drivers();
  END IF;

  RETURN QUERY
  SELECT a.ordinal, a.status, a.message_key
  FROM (SELECT f.ordinal,
               CASE WHEN f.ended IS NOT NULL THEN f.ended
                    WHEN verdicts[f.ordinal] = -1 THEN 'duplicate'
                    WHEN verdicts[f.ordinal] = -2 THEN 'capped'
                    WHEN f.channels = '{inapp}' THEN 'delivered'
                    ELSE 'queued' END AS status,
               CASE WHEN f.ended = 'expired' OR verdicts[f.ordinal] >= 0 THEN f.message_key END AS message_key
        FROM unnest(firings) f OFFSET 0) AS a
  WHERE nextval(_counter(a.status)) > 0  -- each is counted
  ORDER BY a.ordinal;
END
$$;
COMMENT ON FUNCTION deliver_alerts(jsonb[]) IS 'Fires many alerts in one statement, in order, each as deliver_alert would. Elements are {"alert", "user_id", "message", "dedup_window"?, "traceparent"?}; returns a row for each with its ordinal from 1, status and delivery_key. A bad element fails the whole call, its ordinal is in DETAIL. Keep it in a short transaction: others that fire the same wait for it, and each call is a subtransaction (more than 64 slow down every snapshot).';
