-- What a person does with dead letters. Each function is one act: it happens whole or not at all, done twice it is done once,
-- and operator_log says who did it and why.

-- The session's user, or whoever a desk has signed in and named for this transaction.
CREATE FUNCTION _operator() RETURNS text
LANGUAGE sql STABLE
AS $$ SELECT left(coalesce(nullif(current_setting('pgalert.operator', true), ''), session_user), 255) $$;

CREATE FUNCTION _log_action(action text, letters bigint, dlq_id uuid DEFAULT NULL, filter jsonb DEFAULT NULL, reason text DEFAULT NULL, detail jsonb DEFAULT NULL)
RETURNS void
LANGUAGE sql VOLATILE
AS $$
  INSERT INTO operator_log (operator, action, dlq_id, filter, letters, reason, detail)
  VALUES (_operator(), action, dlq_id, filter, letters, nullif(left(reason, 1000), ''), detail)
$$;

CREATE FUNCTION _check_reason(reason text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  IF coalesce(reason, '') = '' THEN
    RAISE EXCEPTION 'a reason is needed' USING ERRCODE = 'null_value_not_allowed',
      DETAIL = 'What is discarded is not sent to anybody.', HINT = 'Say why, for those who ask later.';
  END IF;
END
$$;

CREATE FUNCTION _check_max_rows(max_rows bigint, most bigint) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND most THEN
    RAISE EXCEPTION 'max_rows is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(max_rows::text, 'NULL')), HINT = format('Give a number from 1 to %s.', most);
  END IF;
END
$$;

CREATE FUNCTION _letter_is_queued(dlq_id uuid) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  RAISE EXCEPTION 'dead letter % is queued', dlq_id USING ERRCODE = 'object_not_in_prerequisite_state',
    DETAIL = 'It is waiting for a driver, or one is sending it.', HINT = 'Try again when its state has changed.';
END
$$;

-- A filter as a condition (see _letter_condition), and how many are asked for, for every list and act.
CREATE FUNCTION _letters_wanted(filter jsonb, max_rows bigint, most bigint) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  PERFORM _check_max_rows(max_rows, most);
  RETURN _letter_condition(filter);
END
$$;

-- Locks up to max_rows letters that match and are not queued, oldest first; those that another holds are left out.
CREATE FUNCTION _lock_matching(filter jsonb, max_rows integer) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  ids uuid[];
BEGIN
  EXECUTE format('SELECT array_agg(l.id) FROM (SELECT d.id FROM alert_dlq d WHERE d.state <> ''queued'' AND %s ORDER BY d.id LIMIT %s FOR UPDATE SKIP LOCKED) AS l',
                 _letters_wanted(filter, max_rows, 100000), max_rows) INTO ids;
  RETURN coalesce(ids, '{}');
END
$$;

CREATE FUNCTION retry_now(dlq_id uuid, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  letter alert_dlq;
BEGIN
  SELECT d.* INTO letter FROM alert_dlq d WHERE d.id = dlq_id FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM _no_such_letter(dlq_id);
  ELSIF letter.state = 'queued' THEN
    RETURN 'already_queued';
  END IF;
  PERFORM _enqueue_letters(ARRAY[dlq_id], true), _wake_drivers();
  PERFORM _log_action('retry', 1, dlq_id => dlq_id, reason => reason, detail => jsonb_build_object('state', letter.state, 'retry_count', letter.retry_count));
  RETURN CASE WHEN EXISTS (SELECT FROM alert_dlq d WHERE d.id = dlq_id) THEN 'queued' ELSE 'delivered' END;
END
$$;
COMMENT ON FUNCTION retry_now(uuid, text) IS 'Gives a dead letter one more attempt at once, whatever its state; its automatic retry is cancelled, an expiry that has passed is lifted. Returns queued, already_queued, or delivered where only the inbox was owed. If it fails, an exhausted letter is exhausted again, with its count and the new error. Raises P0002 where there is no such letter.';

CREATE FUNCTION retry_matching(filter jsonb, max_rows integer DEFAULT 1000, reason text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  ids uuid[];
BEGIN
  ids := _lock_matching(filter, max_rows);
  IF ids <> '{}' THEN
    PERFORM _enqueue_letters(ids, true), _wake_drivers();
    PERFORM _log_action('retry', cardinality(ids), filter => filter, reason => reason);
  END IF;
  RETURN cardinality(ids);
END
$$;
COMMENT ON FUNCTION retry_matching(jsonb, integer, text) IS 'retry_now() for up to max_rows (1 to 100000) letters that match a filter, oldest first; returns how many. Call it until it returns 0, with "last_retry_before" in the filter so that what fails meanwhile is not taken again. Letters that are queued or held by another transaction are left out. Filter: {"ids": [...], "state", "channel" (owed among others), "channels": "email,sms" (exactly those owed; "-": none), "error_class", "error_group", "host" ("-": none), "alert_id", "user_id", "older_than": "1 hour", "newer_than", "created_before": "2026-01-31 12:00+00", "created_after", "last_retry_before"}, all optional. Raises 22023 for what is no filter.';

CREATE FUNCTION discard(dlq_id uuid, reason text) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  letter alert_dlq;
BEGIN
  PERFORM _check_reason(reason);
  IF dlq_id IS NULL THEN
    PERFORM _no_such_letter(dlq_id);
  END IF;
  SELECT d.* INTO letter FROM alert_dlq d WHERE d.id = dlq_id FOR UPDATE;
  IF NOT FOUND THEN
    RETURN 'already_gone';
  ELSIF letter.state = 'queued' THEN
    PERFORM _letter_is_queued(dlq_id);
  END IF;
  PERFORM remove_from_dlq(dlq_id);
  PERFORM _log_action('discard', 1, dlq_id => dlq_id, reason => reason,
                      detail => jsonb_build_object('alert_id', letter.alert_id, 'user_id', letter.user_id, 'state', letter.state, 'error_class', letter.error_class));
  RETURN 'discarded';
END
$$;
COMMENT ON FUNCTION discard(uuid, text) IS 'Removes a dead letter for good and gives its dedup keys back where nobody was reached. Returns discarded, or already_gone. Raises 22004 without a reason, 55000 for a letter that is queued, P0002 for NULL.';

CREATE FUNCTION discard_matching(filter jsonb, max_rows integer, reason text) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  ids  uuid[];
  gone record;
BEGIN
  PERFORM _check_reason(reason);
  ids := _lock_matching(filter, max_rows);
  IF ids <> '{}' THEN
    WITH gone AS (DELETE FROM alert_dlq d WHERE d.id = ANY (ids) RETURNING d.delivery_key, d.content_hash, d.content_key, d.day_key, d.accepted_at)
    SELECT array_agg(g.delivery_key) AS delivery_keys, array_agg(g.content_hash) AS content_hashes, array_agg(g.content_key) AS content_keys,
           array_agg(g.day_key) AS day_keys, array_agg(g.accepted_at) AS accepted INTO gone FROM gone g;
    PERFORM _end_reservations(gone.delivery_keys, gone.content_hashes, gone.content_keys, gone.day_keys, gone.accepted), _leave_gradual_retries(ids);
    PERFORM _log_action('discard', cardinality(ids), filter => filter, reason => reason);
  END IF;
  RETURN cardinality(ids);
END
$$;
COMMENT ON FUNCTION discard_matching(jsonb, integer, text) IS 'discard() for up to max_rows (1 to 100000) letters that match a filter (see retry_matching), oldest first; returns how many. Letters that are queued are left out. Raises 22004 without a reason, 22023 for what is no filter.';

-- The error of the index would quote the address.
CREATE FUNCTION _change_addresses(addresses jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  UPDATE recipients r SET address = a.value FROM jsonb_each_text(addresses) a WHERE r.recipient_id::text = a.key AND r.address <> a.value;
EXCEPTION WHEN unique_violation THEN
  RAISE EXCEPTION 'the user has that address already' USING ERRCODE = 'unique_violation',
    DETAIL = 'Another recipient of the same channel has it, and would get each message twice.', HINT = 'Remove one of the two with remove_recipient().';
END
$$;

CREATE FUNCTION edit_dead_letter(dlq_id uuid, changes jsonb, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  letter    alert_dlq;
  data      jsonb;
  owed      text[];
  addresses jsonb := changes -> 'address';
  unknown   text;
BEGIN
  SELECT d.* INTO letter FROM alert_dlq d WHERE d.id = dlq_id FOR UPDATE;
  IF NOT FOUND THEN
    PERFORM _no_such_letter(dlq_id);
  ELSIF letter.state = 'queued' THEN
    PERFORM _letter_is_queued(dlq_id);
  END IF;
  IF changes IS NULL OR jsonb_typeof(changes) <> 'object' OR changes = '{}' OR changes - '{message,alert_data,channels,address}'::text[] <> '{}' THEN
    RAISE EXCEPTION 'changes do not say what to change' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('They have %s.', coalesce((SELECT string_agg(quote_ident(k), ', ') FROM jsonb_object_keys(CASE jsonb_typeof(changes) WHEN 'object' THEN changes END) k), 'no keys')),
      HINT = 'Give an object with one or more of message, alert_data, channels, address.';
  END IF;
  data := coalesce(changes -> 'alert_data', letter.alert_data);
  IF changes ? 'message' AND jsonb_typeof(data) = 'object' THEN
    data := data || jsonb_build_object('message', changes -> 'message');
  END IF;
  IF data IS DISTINCT FROM letter.alert_data THEN
    PERFORM _foreign_alert(letter.alert_id, data);
    IF coalesce(data ->> 'message', '') = '' OR data ->> 'user_id' IS DISTINCT FROM letter.user_id THEN
      RAISE EXCEPTION 'alert_data must keep its user and have a message' USING ERRCODE = 'invalid_parameter_value',
        DETAIL = CASE WHEN coalesce(data ->> 'message', '') = '' THEN 'There is no message in it.' ELSE 'Its user_id differs.' END,
        HINT = 'To reach another user, fire an alert for that one and discard this letter.';
    END IF;
  END IF;
  owed := letter.channels;
  IF changes ? 'channels' THEN
    owed := _enabled_channels(jsonb_build_object('channels', changes -> 'channels', 'notify_inapp', false));
    PERFORM _check_channels(owed);
    IF owed = '{}' OR 'inapp' = ANY (owed) AND 'inapp' <> ALL (letter.channels) THEN  -- only what had expired owes the inbox
      RAISE EXCEPTION 'channels must name what is still owed' USING ERRCODE = 'invalid_parameter_value',
        DETAIL = format('They are %s.', owed), HINT = 'Name one or more channels but inapp; to send nothing, discard the letter.';
    END IF;
  END IF;
  IF addresses IS NOT NULL THEN
    IF jsonb_typeof(addresses) <> 'object' OR jsonb_path_exists(addresses, '$.* ? (@.type() != "string")') THEN
      RAISE EXCEPTION 'address must be an object of texts' USING ERRCODE = 'invalid_parameter_value',
        DETAIL = format('It is %s.', jsonb_typeof(addresses)), HINT = 'It is {"<recipient_id>": "new address"}.';
    END IF;
    SELECT a.key INTO unknown FROM jsonb_each_text(addresses) a
    WHERE NOT EXISTS (SELECT FROM recipients r WHERE r.recipient_id::text = a.key AND r.user_id = letter.user_id AND r.channel = ANY (owed));
    IF FOUND THEN
      RAISE EXCEPTION 'recipient % is not one of this letter', quote_ident(left(unknown, 50)) USING ERRCODE = 'invalid_parameter_value',
        DETAIL = 'It is no address of its user for a channel that is owed.', HINT = 'dead_letter() shows its recipients.';
    END IF;
    PERFORM _check_text('address', a.value, 2048) FROM jsonb_each_text(addresses) a;
    PERFORM _change_addresses(addresses);
  END IF;
  UPDATE alert_dlq d SET alert_data = data, channels = owed,
    owed_recipients = (SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(d.owed_recipients) o WHERE o.key = ANY (owed))
  WHERE d.id = dlq_id;
  PERFORM _log_action('edit', 1, dlq_id => dlq_id, reason => reason,
                      detail => jsonb_build_object('changed', (SELECT jsonb_agg(k ORDER BY k) FROM jsonb_object_keys(changes) k)));
  RETURN 'edited';
END
$$;
COMMENT ON FUNCTION edit_dead_letter(uuid, jsonb, text) IS 'Changes what a dead letter will send: "message", "alert_data" (the whole object), "channels" (those owed), "address" ({"<recipient_id>": "new address"}, for all messages of that recipient). Its state stays; retry_now() sends it. Returns edited. Raises P0002 where there is no such letter, 55000 where it is queued, 23505 where the user has the address already, 22023 and what deliver_alert raises for what does not fit.';
