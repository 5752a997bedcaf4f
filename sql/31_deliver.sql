-- Fire: an alert becomes a notification, an outbox row, or a suppressed one, in the caller's transaction.

-- Everything that a firing needs to know beside the alert, in one look.
CREATE FUNCTION _delivery_context(priority text,
  OUT slot smallint, OUT day text, OUT day_end timestamptz,
  OUT lane smallint, OUT dedup_window interval, OUT daily_limit integer)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  zone   text;
  policy policies;
  today  date;
BEGIN
  IF pg_sequence_last_value('pgalert.settings_written') IS NOT NULL THEN
    SELECT s.value, p.name, p.lane, p.dedup_window, p.daily_limit
    INTO zone, policy.name, policy.lane, policy.dedup_window, policy.daily_limit
    FROM (SELECT) AS one LEFT JOIN settings s ON s.name = 'time_zone' LEFT JOIN policies p ON p.name = priority;
  END IF;
  IF policy.name IS NULL THEN
    policy := _builtin_policy(priority);
  END IF;
  slot := coalesce(pg_sequence_last_value('pgalert.outbox_slot'), 0);
  lane := _lane_number(policy.lane);
  dedup_window := policy.dedup_window;
  daily_limit := policy.daily_limit;
  IF lane IS NULL THEN
    RAISE EXCEPTION 'there is no policy "%"', priority USING ERRCODE = 'undefined_object',
      DETAIL = 'An alert''s "priority" names its policy.',
      HINT = 'Built in are high, normal and low; add others to pgalert.policies.';
  END IF;
  IF pg_sequence_last_value('pgalert.first_use_seen') IS NULL THEN
    PERFORM _confirm_first_use();
  END IF;
  zone := coalesce(zone, _default_setting('time_zone'));
  today := clock_timestamp() AT TIME ZONE zone;
  day := to_char(today, 'YYYY-MM-DD');
  day_end := (today + 1)::timestamp AT TIME ZONE zone;
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

CREATE FUNCTION _expired_before_sending() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 'the alert''s expires_at passed before it was sent' $$;

CREATE FUNCTION deliver_alert(alert jsonb, user_id text, message text, dedup_window interval DEFAULT NULL,
                              traceparent text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_variable
DECLARE
  started     CONSTANT timestamptz := clock_timestamp();
  fired       CONSTANT text[] := _read_alert(alert, user_id, message, traceparent);  -- alert_id, its name, priority …
  channels    CONSTANT text[] := string_to_array(fired[4], ',');
  message_key CONSTANT uuid := _message_key();
  context     record;
  content     uuid;
  days        uuid[];
  day         uuid;
  held        uuid[];
  got         integer;
  verdict     text;
  data        jsonb;
BEGIN
  IF dedup_window IS NOT NULL THEN
    PERFORM _check_window(dedup_window);
  END IF;
  IF NOT channels <@ _builtin_channels() THEN
    PERFORM _check_channels(channels);
  END IF;
  context := _delivery_context(fired[3]);
  IF channels = '{}' THEN
    RETURN 'no_channels';
  END IF;
  data := alert || jsonb_build_object('message', message, 'user_id', user_id);
  IF fired[7] IS NOT NULL AND fired[7]::timestamptz <= started THEN
    INSERT INTO alert_dlq (alert_id, user_id, alert_data, error_message, error_class, state, channels, priority, content_hash,
                           delivery_key, accepted_at, expires_at, traceparent)
    VALUES (fired[1], user_id, data, _expired_before_sending(), 'expired', 'expired', channels,
            fired[3], fired[5], message_key, started, fired[7]::timestamptz, traceparent);
    RETURN 'expired';
  END IF;
  IF coalesce(dedup_window, context.dedup_window) > '0' THEN
    content := _content_key(fired[5], user_id, fired[6]);
  END IF;
  days := _day_keys(user_id, fired[1], context.day, context.daily_limit);
  day := days[1];

  LOOP
    -- Looks before it writes, in one statement: what is suppressed leaves no dead row.
    INSERT INTO dedup_keys AS k (key, expires_at, owner)
    SELECT w.key, w.until, message_key
    FROM (VALUES (day, context.day_end), (content, started + coalesce(dedup_window, context.dedup_window))) AS w (key, until)
    WHERE w.key IS NOT NULL AND NOT EXISTS (SELECT FROM dedup_keys l WHERE l.key = ANY (ARRAY[day, content]) AND l.expires_at > started)
    ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at, owner = excluded.owner WHERE k.expires_at <= started;
    GET DIAGNOSTICS got = ROW_COUNT;
    EXIT WHEN got = num_nonnulls(day, content);
    IF got > 0 THEN
      -- Another session won a key between the look and the reservation: keep nothing.
      PERFORM _give_back(ARRAY[day, content], ARRAY[message_key, message_key]);
    END IF;
    -- Content and day in one look: whoever took the day since an earlier one may have taken it with this content.
    SELECT array_agg(k.key) INTO held FROM dedup_keys k WHERE k.key = ANY (days || content) AND k.expires_at > started;
    day := (SELECT d FROM unnest(days) WITH ORDINALITY AS u (d, place) WHERE held IS NULL OR d <> ALL (held) ORDER BY place LIMIT 1);
    verdict := CASE WHEN content = ANY (held) THEN 'duplicate' WHEN days <> '{}' AND day IS NULL THEN 'capped' END;
    IF verdict IS NOT NULL THEN
      INSERT INTO suppressed_alerts (alert_id, user_id, reason, content_hash) VALUES (fired[1], user_id, verdict, fired[5]);
      RETURN verdict;
    END IF;
  END LOOP;

  IF 'inapp' = ANY (channels) THEN
    INSERT INTO notifications (user_id, alert_id, alert_name, message, priority, delivery_key)
    VALUES (user_id, fired[1], fired[2], message, fired[3], message_key);
    PERFORM _wake_inbox(user_id);
    IF channels = '{inapp}' THEN
      INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
      VALUES (fired[1], user_id, fired[5], '["inapp"]', message_key, 1, fired[3], started);
      RETURN 'delivered';
    END IF;
  END IF;
  INSERT INTO outbox (slot, lane, install_id, delivery_key, alert_id, user_id, priority, channels, delivered_channels,
                      content_hash, content_key, day_key, bytes, accepted_at, enqueued_at, expires_at, traceparent, alert_data)
  VALUES (context.slot, context.lane, _install_id(), message_key, fired[1], user_id, fired[3],
          array_remove(channels, 'inapp'), CASE WHEN 'inapp' = ANY (channels) THEN '{inapp}' ELSE '{}' END::text[],
          fired[5], content, day, pg_column_size(data), started, started, fired[7]::timestamptz, traceparent, data);
  IF _drivers_asleep() THEN
    PERFORM _wake_drivers();
  END IF;
  RETURN 'queued';
END
$$;
COMMENT ON FUNCTION deliver_alert(jsonb, text, text, interval, text) IS 'Fires an alert {"id", "name", "condition", "channels", "priority", "dedup_key", "expires_at", ...} or to_jsonb(row) for a user, in the caller''s transaction. Returns delivered (in-app only), queued, duplicate, capped, expired or no_channels. dedup_window (0 to 1 year) replaces the policy''s; traceparent is passed on. Raises 22023, 22001, 54000 for what cannot be an alert, 42704 for an unknown channel or policy. Waits for a transaction that has fired the same and not ended.';
