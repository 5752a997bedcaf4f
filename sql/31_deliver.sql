-- Fire: an alert becomes a notification, an outbox row, or a suppressed one, in the caller's transaction.

-- An alert as deliver_alert has read it. owed: its channels but inapp; delivered: inapp, where it is among them. The lane (NULL where
-- there is none), the day's key and how long keys are held are those of the built-in policy and settings; plain: nothing else is to be
-- looked up, since its channels are built in, it has no time at which it expires, and nothing was set. traceparent is NULL where it
-- cannot be followed. alert_data: the alert as tables keep it, with message and user; bytes: its size.
CREATE TYPE fired_alert AS (
  at timestamptz, alert_id text, user_id text, alert_name text, message text, priority text, channels text[], owed text[], delivered text[],
  content_hash text, expires text, expires_at timestamptz, traceparent text, message_key uuid, content_key uuid, day_key uuid,
  content_until timestamptz, day_until timestamptz, lane smallint, dedup_window interval, in_app boolean, plain boolean,
  alert_data jsonb, bytes integer);

CREATE FUNCTION _day(at timestamptz, zone text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT to_char(at AT TIME ZONE zone, 'YYYY-MM-DD') $$;

CREATE FUNCTION _day_end(at timestamptz, zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT ((at AT TIME ZONE zone)::date + 1)::timestamp AT TIME ZONE zone $$;

-- What is set that a firing needs to know.
CREATE FUNCTION _delivery_context(priority text,
  OUT day text, OUT day_end timestamptz, OUT lane smallint, OUT dedup_window interval, OUT daily_limit integer)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  zone CONSTANT text := setting('time_zone');
  at   CONSTANT timestamptz := clock_timestamp();
BEGIN
  SELECT _lane_number(p.lane), p.dedup_window, p.daily_limit INTO lane, dedup_window, daily_limit
  FROM all_policies p WHERE p.name = priority;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no policy "%"', priority USING ERRCODE = 'undefined_object',
      DETAIL = 'An alert''s "priority" names its policy.',
      HINT = 'Built in are high, normal and low; add others to pgalert.policies.';
  END IF;
  IF pg_sequence_last_value('pgalert.first_use_seen') IS NULL THEN
    PERFORM _confirm_first_use();
  END IF;
  day := _day(at, zone);
  day_end := _day_end(at, zone);
END
$$;

-- The first message says whose the messages here are; a restored copy then differs from it.
CREATE FUNCTION _confirm_first_use() RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM confirmed_cluster) THEN
    BEGIN
      LOCK TABLE confirmed_cluster IN SHARE ROW EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
      RETURN;  -- another first transaction is at it: nobody waits for its end, and a later firing sees to it if it fails
    END;
    INSERT INTO confirmed_cluster (install_id, database_oid)
    VALUES (_install_id(), _database_oid())
    ON CONFLICT DO NOTHING;
  ELSIF pg_current_xact_id_if_assigned() IS NULL THEN  -- else the row may be this transaction's own, and be rolled back
    PERFORM nextval('pgalert.first_use_seen');
  END IF;
END
$$;

CREATE FUNCTION _check_window(dedup_window interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  IF dedup_window NOT BETWEEN '0' AND '366 days' THEN
    RAISE EXCEPTION 'dedup_window is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', dedup_window), HINT = 'Give an interval from 0 (no content deduplication) to 366 days.';
  END IF;
END
$$;

-- A text as a time: as Postgres reads it, with an error as that of all else that is wrong with an alert.
CREATE FUNCTION _read_time(what text, value text) RETURNS timestamptz
LANGUAGE plpgsql STABLE STRICT
AS $$
BEGIN
  RETURN value::timestamptz;
EXCEPTION WHEN data_exception THEN
  RAISE EXCEPTION '% must be a time', what USING ERRCODE = 'invalid_datetime_format',
    DETAIL = format('It is %s.', left(value, 64)), HINT = 'Give a time such as "2026-12-31T23:59:59Z".';
END
$$;

CREATE FUNCTION _expired_before_sending() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 'the alert''s expires_at passed before it was sent' $$;

-- Reserves content and day of an alert, with a row of dedup_keys; false where one of them is held.
CREATE FUNCTION _reserve_keys(fired fired_alert) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_reserve_keys_wrapper';

-- Puts an alert into its user's inbox; false where that is left to INSERT, since notifications was changed.
CREATE FUNCTION _put_into_inbox(fired fired_alert) RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_put_into_inbox_wrapper';

-- Puts its message into the outbox.
CREATE FUNCTION _enqueue(fired fired_alert) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_enqueue_wrapper';

CREATE FUNCTION _counted(status text) RETURNS text
LANGUAGE sql VOLATILE
AS $$ SELECT CASE WHEN nextval(_counter(status)) IS NOT NULL THEN status END $$;

-- Which of these keys are held.
CREATE FUNCTION _held(day_keys uuid[], content_key uuid, at timestamptz) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
  -- Content and day in one look: whoever has taken the day may have taken it with this content.
  RETURN ARRAY(SELECT k.day_key FROM dedup_keys k WHERE k.day_key = ANY (day_keys) AND k.day_until > at
               UNION ALL
               SELECT k.content_key FROM dedup_keys k WHERE k.content_key = _held.content_key AND k.content_until > at);
END
$$;

-- A plain alert that is not for the inbox alone is accepted at once if its keys are free, and notifications as it was made; any other goes to _deliver_in_full. Not declared
-- SECURITY DEFINER, which would take longer than to change to the owner's rights itself. COST: that of functions in PL/pgSQL, so that
-- in a WHERE it is not called before those that stand before it.
CREATE FUNCTION deliver_alert(alert jsonb, user_id text, message text, dedup_window interval DEFAULT NULL,
                              traceparent text DEFAULT NULL) RETURNS text
LANGUAGE c VOLATILE COST 100 AS 'MODULE_PATHNAME', 'deliver_alert_wrapper';
COMMENT ON FUNCTION deliver_alert(jsonb, text, text, interval, text) IS 'Fires an alert {"id", "name", "condition", "channels", "priority", "dedup_key", "expires_at", ...} or to_jsonb(row) for a user, in the caller''s transaction. Returns delivered (in-app only), queued, duplicate, capped, expired or no_channels. dedup_window (0 to 366 days) replaces the policy''s. traceparent is kept for the spans of its sends; one that is not of W3C''s form is dropped, and the alert accepted. Raises 22023, 22001, 54000 for what cannot be an alert, 42704 for an unknown channel or policy. Waits for a transaction that has fired the same and not ended.';

-- held: its keys were asked for, and one of them is held.
CREATE FUNCTION _deliver_in_full(fired fired_alert, held boolean) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  context record;
  days    uuid[];
  taken   uuid[];
  verdict text;
BEGIN
  IF NOT fired.plain THEN
    IF fired.dedup_window IS NOT NULL THEN
      PERFORM _check_window(fired.dedup_window);
    END IF;
    PERFORM _check_channels(fired.channels);
    context := _delivery_context(fired.priority);
    fired.expires_at := _read_time('expires_at', fired.expires);
    IF fired.channels = '{}' THEN
      RETURN _counted('no_channels');
    END IF;
    IF fired.expires_at <= fired.at THEN
      INSERT INTO alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, priority, content_hash,
                             delivery_key, accepted_at, expires_at, traceparent)
      VALUES (fired.alert_id, fired.user_id, fired.alert_data, _expired_before_sending(),
              'expired', 'expired', fired.channels, fired.priority, fired.content_hash, fired.message_key, fired.at, fired.expires_at, fired.traceparent);
      RETURN _counted('expired');
    END IF;
    fired.lane := context.lane;
    fired.content_until := fired.at + coalesce(fired.dedup_window, context.dedup_window);
    IF fired.content_until = fired.at THEN
      fired.content_key := NULL;
    END IF;
    days := coalesce(_day_keys(fired.user_id, fired.alert_id, context.day, context.daily_limit), '{}');
    fired.day_key := days[1];
    fired.day_until := context.day_end;
  END IF;

  WHILE fired.content_key IS NOT NULL OR fired.day_key IS NOT NULL LOOP
    EXIT WHEN NOT held AND _reserve_keys(fired);
    days := coalesce(days, ARRAY[fired.day_key]);
    taken := _held(days, fired.content_key, fired.at);
    fired.day_key := (SELECT d FROM unnest(days) WITH ORDINALITY AS u (d, place) WHERE d <> ALL (taken) ORDER BY place LIMIT 1);
    verdict := CASE WHEN fired.content_key = ANY (taken) THEN 'duplicate' WHEN days <> '{}' AND fired.day_key IS NULL THEN 'capped' END;
    IF verdict IS NOT NULL THEN
      INSERT INTO suppressed_alerts (alert_id, user_id, reason, content_hash) VALUES (fired.alert_id, fired.user_id, verdict, fired.content_hash);
      RETURN _counted(verdict);
    END IF;
    PERFORM _free_expired(ARRAY[fired.day_key], ARRAY[fired.content_key], fired.at);
    held := false;
  END LOOP;

  IF fired.in_app THEN
    IF NOT _put_into_inbox(fired) THEN
      INSERT INTO notifications (user_id, alert_id, alert_name, message, priority, delivery_key, created_at)
      VALUES (fired.user_id, fired.alert_id, fired.alert_name, fired.message, fired.priority, fired.message_key, fired.at);
    END IF;
    PERFORM _wake_inbox(fired.user_id);
    IF fired.owed = '{}' THEN
      INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
      VALUES (fired.alert_id, fired.user_id, fired.content_hash, '["inapp"]', fired.message_key, 1, fired.priority, fired.at);
      PERFORM _next_segment(1);
      RETURN _counted('delivered');
    END IF;
  END IF;
  PERFORM _enqueue(fired), _wake_drivers();
  RETURN _counted('queued');
END
$$;
