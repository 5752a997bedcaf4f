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
  expires_at    timestamptz,
  traceparent   text,
  alert_data    jsonb
);
COMMENT ON TYPE firing IS 'One element of deliver_alerts() that is checked and not yet decided.';

-- Arrays have an element for each firing, but for day_keys: of each firing as many as its daily limit.
CREATE TYPE bulk_call AS (
  each           firing[],
  asked          boolean[],      -- deduplication is: it has not ended yet
  message_keys   uuid[],
  content_keys   uuid[],
  content_until  timestamptz[],
  day_keys       uuid[],
  daily_limits   integer[],
  day_until      timestamptz,
  in_app         boolean         -- at least one asks for it
);
COMMENT ON TYPE bulk_call IS 'The elements of a call of deliver_alerts(), and what deduplication needs to know of them.';

-- Checks elements and gives them their keys, in their order. Raises a fault as deliver_alert would.
CREATE FUNCTION _prepare_firings(alerts jsonb[], at timestamptz) RETURNS bulk_call
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  call bulk_call;
  user_ids text[];
  alert_ids text[];
  builtin  boolean;
  windows  boolean;
  context  CONSTANT record := _delivery_context('normal');  -- its day is that of all policies
BEGIN
  WITH policy AS MATERIALIZED (SELECT p.name, _lane_number(p.lane) AS lane, p.dedup_window, p.daily_limit FROM all_policies p)
  SELECT array_agg(ROW(f.ordinality, f.ended, f.message_key, f.alert_id, f.alert_name, f.user_id, f.message, f.priority, f.lane, f.channels,
                       f.content_hash, f.key, f.until, f.traceparent, f.alert_data)::firing),
         array_agg(f.ended IS NULL), array_agg(f.message_key), array_agg(f.key),
         array_agg(CASE WHEN f.key IS NOT NULL THEN at + least(f.keep_for, '366 days') END), array_agg(f.daily_limit), bool_or('inapp' = ANY (f.channels)),
         array_agg(f.user_id), array_agg(f.alert_id), bool_and(f.builtin), bool_or(f.dedup_window IS NOT NULL)
  INTO call.each, call.asked, call.message_keys, call.content_keys, call.content_until, call.daily_limits, call.in_app, user_ids, alert_ids, builtin, windows
  FROM (SELECT e.*, CASE WHEN e.keep_for > '0' THEN e.content_key END AS key,
               CASE WHEN e.channels = '{}' THEN 'no_channels' WHEN e.until <= at THEN 'expired' END AS ended
        FROM (SELECT r.*, p.lane, p.daily_limit, coalesce(r.dedup_window::interval, p.dedup_window) AS keep_for, _read_time('expires_at', r.expires_at) AS until
              FROM _read_firings(alerts) WITH ORDINALITY AS r
              CROSS JOIN LATERAL (SELECT * FROM policy p WHERE p.name = r.priority OFFSET 0) AS p OFFSET 0) AS e OFFSET 0) AS f;  -- which keeps their order
  IF coalesce(cardinality(call.each), 0) < cardinality(alerts) THEN
    PERFORM _delivery_context(r.priority) FROM _read_firings(alerts) r
    WHERE r.priority NOT IN (SELECT p.name FROM all_policies p);  -- refuses an unknown policy
    RETURN _prepare_firings(alerts, at);  -- by now it is known
  END IF;
  IF NOT builtin THEN
    PERFORM _check_channels(array_agg(DISTINCT name)) FROM unnest(call.each) f, unnest(f.channels) name;
  END IF;
  IF windows THEN
    PERFORM _check_window((element ->> 'dedup_window')::interval) FROM unnest(alerts) element;
  END IF;
  call.day_keys := _day_keys(user_ids, alert_ids, context.day, call.daily_limits);
  call.day_until := context.day_end;
  RETURN call;
END
$$;

-- The same, naming the element at fault. The block writes nothing, so it costs no transaction id.
CREATE FUNCTION _prepare_firings_named(alerts jsonb[], at timestamptz) RETURNS bulk_call
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
    RAISE EXCEPTION '%', problem USING ERRCODE = state, DETAIL = rtrim(format('Element %s of alerts. %s', first, detail)),
      HINT = coalesce(nullif(hint, ''), 'Give dedup_window an interval such as "1 hour".');  -- which Postgres itself reads
  END;
  RETURN _prepare_firings(alerts, at);
END
$$;

-- Decides one after the other: 0 admitted, 1 duplicate, 2 capped; -1 what is not asked. held: keys that others hold. reserved_...: what a firing
-- that is admitted is to reserve.
CREATE FUNCTION _admit(asked boolean[], content_keys uuid[], day_keys uuid[], daily_limits integer[], held uuid[],
  OUT verdicts integer[], OUT reserved_contents uuid[], OUT reserved_days uuid[])
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_admit_wrapper';

-- Reserves keys, a row for each firing that has one, those of days before those of contents, each in their order. NULL is none. Raises
-- 23505 where another has one of them.
CREATE FUNCTION _reserve_all(day_keys uuid[], day_until timestamptz, content_keys uuid[], content_until timestamptz[], owners uuid[]) RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_reserve_all_wrapper';

-- Puts the messages of admitted firings into the outbox, but for those that are only for the inbox; returns how many.
CREATE FUNCTION _enqueue_all(firings firing[], verdicts integer[], day_keys uuid[], at timestamptz) RETURNS bigint
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_enqueue_all_wrapper';

-- Decides, and reserves the keys of what is admitted. day_keys: of each firing the one that it has reserved.
CREATE FUNCTION _reserve(call bulk_call, at timestamptz, OUT verdicts integer[], OUT day_keys uuid[])
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  held         uuid[];
  some_expired boolean;  -- keys that are wanted have run out, and are not purged yet
  admitted     record;
BEGIN
  LOOP
    SELECT array_agg(k.key) FILTER (WHERE k.until > at), bool_or((k.until > at) IS NOT TRUE) INTO held, some_expired
    FROM (SELECT c.content_key AS key, c.content_until AS until FROM dedup_keys c WHERE c.content_key = ANY (_sorted(call.content_keys))
          UNION ALL
          SELECT d.day_key, d.day_until FROM dedup_keys d WHERE d.day_key = ANY (_sorted(call.day_keys))) AS k;
    admitted := _admit(call.asked, call.content_keys, call.day_keys, call.daily_limits, held);
    -- Where another session has won a key since the look, all of it is undone and decided again: whoever waits with keys in hand, for
    -- keys that come before them, may wait for ever.
    BEGIN
      IF some_expired THEN
        PERFORM _free_expired(admitted.reserved_days, admitted.reserved_contents, at);
      END IF;
      PERFORM _reserve_all(admitted.reserved_days, call.day_until, admitted.reserved_contents, call.content_until, call.message_keys);
      verdicts := admitted.verdicts;
      day_keys := admitted.reserved_days;
      RETURN;
    EXCEPTION WHEN unique_violation THEN
      IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'could not serialize access due to concurrent update' USING ERRCODE = 'serialization_failure',
          DETAIL = 'Another transaction has fired the same since this one began.', HINT = 'The transaction might succeed if retried.';
      END IF;
    END;
  END LOOP;
END
$$;

-- Notes alerts that deduplication refused. The arrays of this and the next function have an element for each.
CREATE FUNCTION _suppress(alert_ids text[], user_ids text[], reasons text[], content_hashes text[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pgalert, pg_temp
AS $$
BEGIN
  INSERT INTO suppressed_alerts (alert_id, user_id, reason, content_hash)
  SELECT * FROM unnest(alert_ids, user_ids, reasons, content_hashes);
END
$$;

-- Notes alerts that are delivered by being in the inbox.
CREATE FUNCTION _note_delivered(alert_ids text[], user_ids text[], content_hashes text[], message_keys uuid[], priorities text[], at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pgalert, pg_temp
AS $$
BEGIN
  INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
  SELECT d.alert_id, d.user_id, d.content_hash, '["inapp"]', d.message_key, 1, d.priority, at
  FROM unnest(alert_ids, user_ids, content_hashes, message_keys, priorities) AS d (alert_id, user_id, content_hash, message_key, priority);
  PERFORM _next_segment(cardinality(message_keys));
END
$$;

-- Where each alert is plain, and notifications as it was made, all is done at once; any other call goes to _deliver_all_in_full. Not
-- declared SECURITY DEFINER, and its cost is said, as of deliver_alert.
CREATE FUNCTION deliver_alerts(alerts jsonb[]) RETURNS TABLE (ordinal integer, status text, delivery_key uuid)
LANGUAGE c VOLATILE COST 100 AS 'MODULE_PATHNAME', 'deliver_alerts_wrapper';
COMMENT ON FUNCTION deliver_alerts(jsonb[]) IS 'Fires many alerts in one statement, in order, each as deliver_alert would. Elements are {"alert", "user_id", "message", "dedup_window"?, "traceparent"?}; returns a row for each with its ordinal from 1, status and delivery_key. A bad element fails the whole call, its ordinal is in DETAIL; a traceparent that is not of W3C''s form is dropped. Keep it in a short transaction: others that fire the same wait for it, and each call is a subtransaction (more than 64 slow down every snapshot).';

CREATE FUNCTION _deliver_all_in_full(alerts jsonb[]) RETURNS TABLE (ordinal integer, status text, delivery_key uuid)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  started    timestamptz := clock_timestamp();
  call       bulk_call;
  firings    firing[];
  verdicts   integer[];
  day_keys   uuid[];
BEGIN
  IF alerts IS NULL OR array_ndims(alerts) > 1 THEN
    RAISE EXCEPTION 'alerts must be an array of one dimension' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = CASE WHEN alerts IS NULL THEN 'It is NULL.' ELSE format('It has %s dimensions.', array_ndims(alerts)) END,
      HINT = 'Each element is {"alert": {...}, "user_id": "...", "message": "..."}.';
  ELSIF alerts = '{}' THEN
    RETURN;
  END IF;
  call := _prepare_firings_named(alerts, started);
  firings := call.each;
  SELECT r.verdicts, r.day_keys INTO verdicts, day_keys FROM _reserve(call, started) r;

  IF 1 = ANY (verdicts) OR 2 = ANY (verdicts) THEN
    PERFORM _suppress(array_agg(f.alert_id), array_agg(f.user_id), array_agg(CASE verdicts[f.ordinal] WHEN 1 THEN 'duplicate' ELSE 'capped' END),
                      array_agg(f.content_hash))
    FROM unnest(firings) f WHERE verdicts[f.ordinal] > 0;
  END IF;

  IF false = ANY (call.asked) THEN
    INSERT INTO alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, priority, content_hash,
                           delivery_key, accepted_at, expires_at, traceparent)
    SELECT f.alert_id, f.user_id, f.alert_data, _expired_before_sending(), 'expired', 'expired', f.channels, f.priority,
           f.content_hash, f.message_key, started, f.expires_at, f.traceparent
    FROM unnest(firings) f WHERE f.ended = 'expired';
  END IF;

  IF call.in_app THEN
    INSERT INTO notifications (user_id, alert_id, alert_name, message, priority, delivery_key)
    SELECT f.user_id, f.alert_id, f.alert_name, f.message, f.priority, f.message_key
    FROM unnest(firings) f WHERE verdicts[f.ordinal] = 0 AND 'inapp' = ANY (f.channels);
    IF FOUND THEN
      PERFORM _wake_inbox(u.user_id)
      FROM (SELECT DISTINCT f.user_id FROM unnest(firings) f WHERE verdicts[f.ordinal] = 0 AND 'inapp' = ANY (f.channels)) u;
    END IF;

    PERFORM _note_delivered(array_agg(f.alert_id), array_agg(f.user_id), array_agg(f.content_hash), array_agg(f.message_key), array_agg(f.priority), started)
    FROM unnest(firings) f WHERE verdicts[f.ordinal] = 0 AND f.channels = '{inapp}' HAVING count(*) > 0;
  END IF;

  IF _enqueue_all(firings, verdicts, day_keys, started) > 0 THEN
    PERFORM _wake_drivers();
  END IF;

  RETURN QUERY  -- in the order of firings, as all that is read of it
  SELECT a.ordinal, a.status, a.message_key
  FROM (SELECT f.ordinal,
               CASE WHEN f.ended IS NOT NULL THEN f.ended
                    WHEN verdicts[f.ordinal] = 1 THEN 'duplicate'
                    WHEN verdicts[f.ordinal] = 2 THEN 'capped'
                    WHEN f.channels = '{inapp}' THEN 'delivered'
                    ELSE 'queued' END AS status,
               CASE WHEN f.ended = 'expired' OR verdicts[f.ordinal] = 0 THEN f.message_key END AS message_key
        FROM unnest(firings) f OFFSET 0) AS a
  WHERE nextval(_counter(a.status)) > 0;  -- each is counted
END
$$;
