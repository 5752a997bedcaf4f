-- Fire: an alert becomes a notification, an outbox row, or a suppressed one, in the caller's transaction.

-- Reads an alert; raises 22023, 22001, 22007, 54000, 54001 for what cannot be one. at: now. parent: what is known of the traceparent,
-- NULL where it cannot be followed. owed: its channels but inapp; delivered: inapp, where it is among them. The lane (NULL where there
-- is none), the day's key and how long keys are held are those of the built-in policy and settings. plain: nothing else is to be looked
-- up, its channels and policy being built in; it has a channel and no time at which it expires; and the two sequences say that nothing was set and the
-- first use is over. alert_data: the alert as tables keep it, with message and user; bytes: its size.
-- Tables are named one by one, also where they are an array: then pg_upgrade makes them before the functions that name them.
-- Most alerts are plain. With `directly` one that has nothing for the inbox is accepted here, if its keys are free: then it is in the
-- outbox and counted, and beside `accepted` only `wake` is told: drivers may be asleep. accepted is false where one of the keys was held,
-- NULL where they were not asked for.
CREATE FUNCTION _fire(alert jsonb, to_user text, message text, traceparent text, directly boolean,
  settings_written regclass DEFAULT 'pgalert.settings_written', first_use_seen regclass DEFAULT 'pgalert.first_use_seen',
  count_queued regclass DEFAULT 'pgalert.count_queued', drivers_asleep_until regclass DEFAULT 'pgalert.drivers_asleep_until',
  dedup_keys regclass DEFAULT 'pgalert.dedup_keys', partitions regclass[] DEFAULT ARRAY['pgalert.outbox_0'::regclass, 'pgalert.outbox_1', 'pgalert.outbox_2'],
  outbox_slot regclass DEFAULT 'pgalert.outbox_slot', message_ids regclass DEFAULT 'pgalert.message_id', install_id uuid DEFAULT _install_id(),
  OUT at timestamptz, OUT alert_id text, OUT user_id text, OUT alert_name text, OUT priority text, OUT channels text[], OUT owed text[],
  OUT content_hash text, OUT expires text, OUT expires_at timestamptz, OUT parent text, OUT message_key uuid, OUT content_key uuid,
  OUT day_key uuid, OUT content_until timestamptz, OUT day_until timestamptz, OUT lane smallint, OUT in_app boolean, OUT plain boolean,
  OUT delivered text[], OUT alert_data jsonb, OUT bytes integer, OUT accepted boolean, OUT wake boolean)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_fire_wrapper';

CREATE FUNCTION _day(at timestamptz, zone text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT to_char(at AT TIME ZONE zone, 'YYYY-MM-DD') $$;

CREATE FUNCTION _day_end(at timestamptz, zone text) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT ((at AT TIME ZONE zone)::date + 1)::timestamp AT TIME ZONE zone $$;

CREATE FUNCTION _outbox_slot() RETURNS smallint
LANGUAGE sql VOLATILE
AS $$ SELECT coalesce(pg_sequence_last_value('pgalert.outbox_slot'), 0)::smallint $$;

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
    SELECT _install_id(), d.oid FROM pg_database d WHERE d.datname = current_database()
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
  IF dedup_window NOT BETWEEN '0' AND '1 year' THEN
    RAISE EXCEPTION 'dedup_window is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', dedup_window), HINT = 'Give an interval from 0 (no content deduplication) to 1 year.';
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

-- Reserves the content and the day of what _fire has read, with a row of dedup_keys; false where one of them is held.
CREATE FUNCTION _reserve_keys(fired record, dedup_keys regclass DEFAULT 'pgalert.dedup_keys') RETURNS boolean
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_reserve_keys_wrapper';

-- Puts its message into the outbox. Always true.
CREATE FUNCTION _enqueue(fired record, partitions regclass[] DEFAULT ARRAY['pgalert.outbox_0'::regclass, 'pgalert.outbox_1', 'pgalert.outbox_2'],
  outbox_slot regclass DEFAULT 'pgalert.outbox_slot', message_ids regclass DEFAULT 'pgalert.message_id', install_id uuid DEFAULT _install_id())
RETURNS boolean
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

-- Each expression of PL/pgSQL, and each function in it, is prepared anew in each transaction, so those that every firing comes
-- by are few: what can be computed is computed by _fire.
CREATE FUNCTION deliver_alert(alert jsonb, user_id text, message text, dedup_window interval DEFAULT NULL,
                              traceparent text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
  fired   record;
  context record;
  days    uuid[];
  held    uuid[];
  verdict text;
BEGIN
  fired := _fire(alert, user_id, message, traceparent, directly => dedup_window IS NULL);
  IF fired.accepted THEN
    IF fired.wake THEN
      PERFORM _wake_drivers();
    END IF;
    RETURN 'queued';
  END IF;
  IF NOT fired.plain OR dedup_window IS NOT NULL THEN
    IF dedup_window IS NOT NULL THEN
      PERFORM _check_window(dedup_window);
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
      VALUES (fired.alert_id, user_id, fired.alert_data, _expired_before_sending(),
              'expired', 'expired', fired.channels, fired.priority, fired.content_hash, fired.message_key, fired.at, fired.expires_at, fired.parent);
      RETURN _counted('expired');
    END IF;
    fired.lane := context.lane;
    fired.content_until := fired.at + coalesce(dedup_window, context.dedup_window);
    IF fired.content_until = fired.at THEN
      fired.content_key := NULL;
    END IF;
    days := coalesce(_day_keys(user_id, fired.alert_id, context.day, context.daily_limit), '{}');
    fired.day_key := days[1];
    fired.day_until := context.day_end;
  END IF;

  WHILE fired.content_key IS NOT NULL OR fired.day_key IS NOT NULL LOOP
    EXIT WHEN fired.accepted IS NULL AND _reserve_keys(fired);
    days := coalesce(days, ARRAY[fired.day_key]);
    held := _held(days, fired.content_key, fired.at);
    fired.day_key := (SELECT d FROM unnest(days) WITH ORDINALITY AS u (d, place) WHERE d <> ALL (held) ORDER BY place LIMIT 1);
    verdict := CASE WHEN fired.content_key = ANY (held) THEN 'duplicate' WHEN days <> '{}' AND fired.day_key IS NULL THEN 'capped' END;
    IF verdict IS NOT NULL THEN
      INSERT INTO suppressed_alerts (alert_id, user_id, reason, content_hash) VALUES (fired.alert_id, user_id, verdict, fired.content_hash);
      RETURN _counted(verdict);
    END IF;
    PERFORM _free_expired(ARRAY[fired.day_key], ARRAY[fired.content_key], fired.at);
    fired.accepted := NULL;
  END LOOP;

  IF fired.in_app THEN
    INSERT INTO notifications (user_id, alert_id, alert_name, message, priority, delivery_key)
    VALUES (user_id, fired.alert_id, fired.alert_name, message, fired.priority, fired.message_key);
    PERFORM _wake_inbox(user_id);
    IF fired.owed = '{}' THEN
      INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
      VALUES (fired.alert_id, user_id, fired.content_hash, '["inapp"]', fired.message_key, 1, fired.priority, fired.at);
      PERFORM _next_segment(1);
      RETURN _counted('delivered');
    END IF;
  END IF;
  IF (CASE WHEN _enqueue(fired) THEN _drivers_asleep(_now_ms()) END) THEN
    PERFORM _wake_drivers();
  END IF;
  RETURN _counted('queued');
END
$$;
COMMENT ON FUNCTION deliver_alert(jsonb, text, text, interval, text) IS 'Fires an alert {"id", "name", "condition", "channels", "priority", "dedup_key", "expires_at", ...} or to_jsonb(row) for a user, in the caller''s transaction. Returns delivered (in-app only), queued, duplicate, capped, expired or no_channels. dedup_window (0 to 1 year) replaces the policy''s. traceparent is kept for the spans of its sends; one that is not of W3C''s form is dropped, and the alert accepted. Raises 22023, 22001, 54000 for what cannot be an alert, 42704 for an unknown channel or policy. Waits for a transaction that has fired the same and not ended.';
