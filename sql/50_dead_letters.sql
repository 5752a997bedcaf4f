-- Dead letters: retry selection, and the functions that users of the system before this one know.

-- Delivers what letters owe to the inbox: an alert that had expired when it was fired. A letter that owed nothing else is gone.
CREATE FUNCTION _deliver_in_app(ids uuid[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  letter alert_dlq;
BEGIN
  FOR letter IN SELECT d.* FROM alert_dlq d WHERE d.id = ANY (ids) AND 'inapp' = ANY (d.channels) AND d.state <> 'queued' AND d.user_id IS NOT NULL
                ORDER BY d.id LOOP
    INSERT INTO notifications (user_id, alert_id, alert_name, message, priority, delivery_key)
    VALUES (letter.user_id, letter.alert_id, letter.alert_data ->> 'name', coalesce(letter.alert_data ->> 'message', letter.alert_id), letter.priority, letter.delivery_key);
    INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
    VALUES (letter.alert_id, letter.user_id, letter.content_hash, '["inapp"]', letter.delivery_key, letter.retry_count + 1, letter.priority, letter.accepted_at);
    UPDATE alert_dlq d SET channels = array_remove(d.channels, 'inapp') WHERE d.id = letter.id AND d.channels <> '{inapp}';
    IF NOT FOUND THEN
      DELETE FROM alert_dlq d WHERE d.id = letter.id;
    END IF;
    PERFORM _wake_inbox(letter.user_id), _next_segment(1), nextval(_counter('sent'));
  END LOOP;
END
$$;

-- The recipients of a user that were added after a failure.
CREATE FUNCTION _added_since(of_user text, of_channel text, failed_at timestamptz) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
  SELECT jsonb_agg(r.recipient_id ORDER BY r.recipient_id) FROM recipients r
  WHERE r.user_id = of_user AND r.channel = of_channel AND r.disabled_at IS NULL AND r.created_at > failed_at
$$;

-- Puts letters that the caller has locked into the queue; with lift_expiry also those that have expired.
CREATE FUNCTION _enqueue_letters(ids uuid[], lift_expiry boolean) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off
  SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
  IF lift_expiry THEN
    PERFORM _deliver_in_app(ids);
  END IF;
  WITH picked AS (
    UPDATE alert_dlq d
    SET state = 'queued', next_retry_at = NULL,
        expires_at = CASE WHEN lift_expiry AND d.expires_at <= clock_timestamp() THEN NULL ELSE d.expires_at END
    FROM unnest(ids) AS i (id) WHERE d.id = i.id AND d.state <> 'queued'
    RETURNING d.*
  )
  INSERT INTO outbox (slot, lane, install_id, delivery_key, alert_id, user_id, priority, channels, owed_recipients, content_hash,
                      content_key, day_key, attempt, dlq_id, bytes, accepted_at, enqueued_at, expires_at, traceparent, alert_data)
  SELECT s.last_value, coalesce(_lane_number(p.lane), 1), _install_id(), d.delivery_key, d.alert_id, d.user_id, d.priority, d.channels,
         -- Where none of the recipients still owed has an address, it was corrected: those that were added since it failed are owed
         -- then. The user's others have had the message.
         d.owed_recipients || coalesce(
           (SELECT jsonb_object_agg(o.channel, coalesce(_added_since(d.user_id, o.channel, d.created_at), d.owed_recipients -> o.channel))
            FROM unnest(d.channels) AS o (channel)
            WHERE d.owed_recipients ? o.channel
              AND NOT EXISTS (SELECT FROM recipients r WHERE r.user_id = d.user_id AND r.channel = o.channel AND r.disabled_at IS NULL
                                AND d.owed_recipients -> o.channel @> to_jsonb(r.recipient_id))), '{}'),
         d.content_hash, d.content_key, d.day_key, d.retry_count + 2, d.id,
         octet_length(d.alert_data::text),  -- not pg_column_size(), which is that of what is compressed
         d.accepted_at, clock_timestamp(), d.expires_at, d.traceparent, d.alert_data
  FROM picked d CROSS JOIN outbox_slot s LEFT JOIN all_policies p ON p.name = d.priority;
END
$$;

CREATE FUNCTION schedule_retries(max_rows integer DEFAULT 1000) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  at      timestamptz := clock_timestamp();
  due     uuid[];
  expired uuid[];
BEGIN
  IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 100000 THEN
    RAISE EXCEPTION 'max_rows is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(max_rows::text, 'NULL')), HINT = 'Give a number from 1 to 100000.';
  END IF;
  IF hold_reason() IS NOT NULL THEN
    RETURN 0;
  END IF;
  PERFORM advance_gradual_retries();
  SELECT array_agg(l.id) FILTER (WHERE NOT l.past), array_agg(l.id) FILTER (WHERE l.past) INTO due, expired
  FROM (SELECT d.id, coalesce(d.expires_at <= at, false) AS past FROM alert_dlq d
        WHERE d.state = 'waiting' AND d.next_retry_at <= at
        ORDER BY d.next_retry_at LIMIT max_rows
        FOR UPDATE SKIP LOCKED) AS l;
  IF expired IS NOT NULL THEN
    UPDATE alert_dlq d SET state = 'expired', next_retry_at = NULL FROM unnest(expired) AS e (id) WHERE d.id = e.id;
    PERFORM _end_letters(expired);
  END IF;
  IF due IS NOT NULL THEN
    PERFORM _enqueue_letters(due, false), _wake_drivers();
  END IF;
  RETURN coalesce(cardinality(due), 0);
END
$$;
COMMENT ON FUNCTION schedule_retries(integer) IS 'Puts dead letters that are due, up to max_rows (1 to 100000), into the queue and ends those that have expired; returns how many were queued. Run each minute by pg_cron or by the driver; several at once are harmless.';

CREATE FUNCTION count_waiting() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  SELECT count(*) FROM alert_dlq WHERE state = 'waiting' AND next_retry_at > clock_timestamp()
$$;
COMMENT ON FUNCTION count_waiting() IS 'How many dead letters wait for a retry that is not due yet.';

-- Gives back the keys of dead letters that have just ended.
CREATE FUNCTION _end_letters(ids uuid[]) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  SELECT _end_reservations(array_agg(d.delivery_key), array_agg(d.content_hash), array_agg(d.content_key), array_agg(d.day_key), array_agg(d.accepted_at))
  FROM alert_dlq d WHERE d.id = ANY (ids)
$$;

CREATE FUNCTION get_failed_alerts(max_retry_count integer DEFAULT 5, max_rows integer DEFAULT 100) RETURNS SETOF alert_dlq
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  IF max_retry_count IS NULL OR max_retry_count < 0 OR max_rows IS NULL OR max_rows < 0 THEN
    RAISE EXCEPTION '% must not be negative', CASE WHEN max_retry_count >= 0 THEN 'max_rows' ELSE 'max_retry_count' END
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('max_retry_count is %s, max_rows is %s.',
        coalesce(max_retry_count::text, 'NULL'), coalesce(max_rows::text, 'NULL')), HINT = 'Give whole numbers from 0.';
  END IF;
  RETURN QUERY
  SELECT d.* FROM alert_dlq d
  WHERE d.state IN ('waiting', 'queued') AND d.retry_count < max_retry_count
  ORDER BY d.created_at LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION get_failed_alerts(integer, integer) IS 'Dead letters that are waiting or queued, with a retry_count below max_retry_count, oldest first, at most max_rows. Raises 22023 for a negative number.';

CREATE FUNCTION _no_such_letter(dlq_id uuid) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  RAISE EXCEPTION 'there is no dead letter %', coalesce(dlq_id::text, 'NULL') USING ERRCODE = 'no_data_found',
    DETAIL = 'It was delivered, removed, or never there.', HINT = 'SELECT id FROM pgalert.get_failed_alerts() lists those that wait.';
END
$$;

-- For a retry worker of one's own: one more retry has failed. Past the schedule the letter is exhausted.
CREATE FUNCTION increment_retry_count(dlq_id uuid) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  letter alert_dlq;
  delay  interval;
BEGIN
  SELECT d.* INTO letter FROM alert_dlq d WHERE d.id = dlq_id FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM _no_such_letter(dlq_id);
  ELSIF letter.state <> 'waiting' THEN
    RAISE EXCEPTION 'dead letter % is not waiting', dlq_id USING ERRCODE = 'object_not_in_prerequisite_state',
      DETAIL = format('Its state is %s.', letter.state),
      HINT = 'Only a waiting letter is retried by others; a queued one is being sent by a driver.';
  END IF;
  SELECT retry_delay(letter.retry_count + 1, p.retry_schedule) INTO delay
  FROM all_policies p WHERE p.name IN (letter.priority, 'normal') ORDER BY p.name = letter.priority DESC LIMIT 1;
  UPDATE alert_dlq d SET retry_count = d.retry_count + 1, last_retry_at = clock_timestamp(), next_retry_at = _due_by(clock_timestamp() + delay, d.expires_at),
                         state = CASE WHEN delay IS NULL THEN 'exhausted' ELSE 'waiting' END
  WHERE d.id = dlq_id;
  PERFORM nextval(_counter('retries_failed'));
  IF delay IS NULL THEN
    PERFORM _end_letters(ARRAY[dlq_id]), nextval(_counter('exhausted'));
  END IF;
  RETURN letter.retry_count + 1;
END
$$;
COMMENT ON FUNCTION increment_retry_count(uuid) IS 'For a retry worker of one''s own: one more retry of a waiting dead letter has failed. Sets its next_retry_at by the policy''s schedule, or exhausted at its end; returns the new count. Raises P0002 where there is no such letter, 55000 where it is not waiting.';

CREATE FUNCTION remove_from_dlq(dlq_id uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  letter alert_dlq;
BEGIN
  IF dlq_id IS NULL THEN
    PERFORM _no_such_letter(dlq_id);
  END IF;
  DELETE FROM alert_dlq d WHERE d.id = dlq_id RETURNING d.* INTO letter;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM _end_reservations(ARRAY[letter.delivery_key], ARRAY[letter.content_hash], ARRAY[letter.content_key], ARRAY[letter.day_key],
                            ARRAY[letter.accepted_at]),
          _leave_gradual_retries(ARRAY[dlq_id]);
  RETURN true;
END
$$;
COMMENT ON FUNCTION remove_from_dlq(uuid) IS 'Discards a dead letter and gives its dedup keys back where nobody was reached. Returns false where there is none; raises P0002 for NULL. A retry already claimed by a driver is still sent.';

-- An alert that others delivered or failed to deliver, read for the tables: its identity from alert_data.
CREATE FUNCTION _foreign_alert(alert_id text, alert_data jsonb, OUT user_id text, OUT content_hash text, OUT content_key uuid, OUT priority text)
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  PERFORM _check_text('alert_id', alert_id, 255);
  IF alert_data IS NULL OR jsonb_typeof(alert_data) <> 'object' THEN
    RAISE EXCEPTION 'alert_data must be a JSON object' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(jsonb_typeof(alert_data), 'NULL')),
      HINT = 'Give the alert with its "message" and "user_id".';
  ELSIF octet_length(alert_data::text) > 1048576 THEN
    RAISE EXCEPTION 'alert_data is too large' USING ERRCODE = 'program_limit_exceeded',
      DETAIL = format('It has %s bytes.', octet_length(alert_data::text)), HINT = 'At most 1048576 are allowed.';
  END IF;
  PERFORM _check_text_fields(alert_data);
  user_id := alert_data ->> 'user_id';
  IF user_id IS NOT NULL THEN
    PERFORM _check_text('user_id', user_id, 255);
  END IF;
  IF alert_data ->> 'dedup_key' IS NOT NULL THEN
    PERFORM _check_text('dedup_key', alert_data ->> 'dedup_key', 255);
  END IF;
  content_hash := compute_content_hash(coalesce(alert_data -> 'condition_json', alert_data -> 'condition'), alert_data ->> 'message', user_id);
  content_key := _content_key(content_hash, user_id, alert_data ->> 'dedup_key');
  priority := coalesce(alert_data ->> 'priority', 'normal');
END
$$;

CREATE FUNCTION track_delivery(alert_id text, alert_data jsonb, delivery_methods jsonb) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  alert   record;
  context record;
  at      timestamptz := clock_timestamp();
  message_key uuid := _message_key();
  content_key uuid;
  day_key uuid;
  days    uuid[];
  held    uuid[];
  methods text[];
  id      uuid;
BEGIN
  SELECT * INTO alert FROM _foreign_alert(alert_id, alert_data);
  methods := _enabled_channels(jsonb_build_object('channels', delivery_methods, 'notify_inapp', false));
  PERFORM _check_channels(methods);
  IF methods = '{}' THEN
    RAISE EXCEPTION 'delivery_methods names no channel' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(delivery_methods::text, 'NULL')), HINT = 'Give an array of names such as ["inapp", "email"].';
  END IF;
  context := _delivery_context(alert.priority);
  INSERT INTO alert_deliveries AS d (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, priority, accepted_at)
  VALUES (track_delivery.alert_id, alert.user_id, alert.content_hash, to_jsonb(methods), message_key, 1, alert.priority, clock_timestamp())
  RETURNING d.id INTO id;
  days := coalesce(_day_keys(alert.user_id, alert_id, context.day, context.daily_limit), '{}');
  content_key := CASE WHEN context.dedup_window > '0' THEN alert.content_key END;
  PERFORM _free_expired(days, ARRAY[content_key], at);  -- before a key is taken, as a bulk call does
  LOOP  -- the first place of the day that nobody holds, as deliver_alert takes it
    held := _held(days, NULL, at);
    day_key := (SELECT d FROM unnest(days) WITH ORDINALITY AS u (d, place) WHERE d <> ALL (held) ORDER BY place LIMIT 1);
    EXIT WHEN day_key IS NULL;
    INSERT INTO dedup_keys (day_key, day_until, owner) VALUES (day_key, context.day_end, message_key) ON CONFLICT DO NOTHING;
    EXIT WHEN FOUND;
  END LOOP;
  INSERT INTO dedup_keys (content_key, content_until, owner)
  SELECT content_key, clock_timestamp() + context.dedup_window, message_key WHERE content_key IS NOT NULL ON CONFLICT DO NOTHING;
  PERFORM nextval(_counter('sent')), _next_segment(1);
  RETURN id;
END
$$;
COMMENT ON FUNCTION track_delivery(text, jsonb, jsonb) IS 'Records a delivery that was made by other means, and reserves its content and day as deliver_alert would. alert_data is the alert with "message" and "user_id", delivery_methods an array of channel names or an object of booleans; returns the id of the delivery. Raises 22023, 22001, 54000, 42704 for what does not fit.';

CREATE FUNCTION push_to_dlq(alert_id text, alert_data jsonb, error_message text) RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  started  timestamptz := clock_timestamp();
  alert    record;
  schedule interval[];
  owed     text[];
  expires_at timestamptz;
  id       uuid;
BEGIN
  SELECT * INTO alert FROM _foreign_alert(alert_id, alert_data);
  IF error_message IS NULL OR error_message = '' THEN
    RAISE EXCEPTION 'error_message must not be empty' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'A person will read it to decide what to do.', HINT = 'Give the error that made the delivery fail.';
  END IF;
  owed := array_remove(_enabled_channels(alert_data), 'inapp');
  PERFORM _check_channels(owed), _delivery_context(alert.priority);
  IF owed = '{}' THEN
    RAISE EXCEPTION 'the alert names no channel that could be retried' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'In-app alerts are delivered by deliver_alert() and do not fail.', HINT = 'Set "channels" or "notify_email" in alert_data.';
  END IF;
  SELECT p.retry_schedule INTO schedule FROM all_policies p WHERE p.name = alert.priority;
  expires_at := _read_time('expires_at', alert_data ->> 'expires_at');
  INSERT INTO alert_dlq AS d (alert_id, user_id, alert_data, error_message, error_class, state, channels, next_retry_at, priority, content_hash,
                              delivery_key, content_key, created_at, accepted_at, expires_at)
  VALUES (push_to_dlq.alert_id, alert.user_id, push_to_dlq.alert_data, left(push_to_dlq.error_message, 4000), 'reported',
          CASE WHEN retry_delay(0, schedule) IS NULL THEN 'exhausted' ELSE 'waiting' END, owed,
          _due_by(started + retry_delay(0, schedule), expires_at), alert.priority, alert.content_hash, _message_key(), alert.content_key, started, started, expires_at)
  RETURNING d.id INTO id;
  IF retry_delay(0, schedule) IS NULL THEN
    PERFORM nextval(_counter('exhausted'));
  END IF;
  RETURN id;
END
$$;
COMMENT ON FUNCTION push_to_dlq(text, jsonb, text) IS 'Puts an alert whose delivery has failed elsewhere among the dead letters, due after the first delay of its policy, for its channels but inapp; returns the id. alert_data is the alert with "message" and "user_id", at most 1 MB. Raises 22023, 22001, 54000, 42704 for what does not fit.';
