-- The in-app inbox.

CREATE FUNCTION inbox(user_id text, unread_only boolean DEFAULT false, before_id bigint DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (notification_id bigint, alert_id text, alert_name text, message text, priority text, created_at timestamptz, read_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  PERFORM _check_text('user_id', user_id, 255);
  IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 1000 THEN
    RAISE EXCEPTION 'max_rows is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(max_rows::text, 'NULL')), HINT = 'Give a number from 1 to 1000.';
  END IF;
  RETURN QUERY
  SELECT n.notification_id, n.alert_id, n.alert_name, n.message, n.priority, n.created_at, n.read_at
  FROM notifications n
  WHERE n.user_id = inbox.user_id AND (n.read_at IS NULL OR NOT coalesce(unread_only, false))
    AND n.notification_id < coalesce(before_id, 9223372036854775807)
  ORDER BY n.notification_id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION inbox(text, boolean, bigint, integer) IS 'In-app notifications of a user, newest first, at most max_rows (1 to 1000). For the next page give the last notification_id as before_id.';

CREATE FUNCTION mark_read(user_id text, notification_ids bigint[] DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  changed integer;
BEGIN
  PERFORM _check_text('user_id', user_id, 255);
  UPDATE notifications n SET read_at = clock_timestamp()
  WHERE n.user_id = mark_read.user_id AND n.read_at IS NULL
    AND (notification_ids IS NULL OR n.notification_id = ANY (notification_ids));
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END
$$;
COMMENT ON FUNCTION mark_read(text, bigint[]) IS 'Marks notifications of a user as read, or all of them (NULL); returns how many were unread.';
