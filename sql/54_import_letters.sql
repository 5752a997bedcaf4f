-- Dead letters from a file, as `pgalert dlq export` writes them.

CREATE FUNCTION import_dead_letters(letters jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  imported integer;
  named    text[];
BEGIN
  IF letters IS NULL OR jsonb_typeof(letters) <> 'array' OR jsonb_path_exists(letters, 'strict $[*] ? (@.type() != "object")') THEN
    RAISE EXCEPTION 'letters must be an array of objects' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(jsonb_typeof(letters), 'NULL')), HINT = 'A letter is to_jsonb() of a row of alert_dlq.';
  END IF;
  BEGIN
    SELECT array_agg(DISTINCT c) INTO named FROM jsonb_populate_recordset(NULL::alert_dlq, letters) l CROSS JOIN unnest(l.channels) c;
    PERFORM _check_channels(coalesce(named, '{}'));
    WITH brought AS (
      -- Keys of deduplication stay where they were, and so do addresses that this database knows as nobody's or another's.
      INSERT INTO alert_dlq (id, alert_id, user_id, alert_data, error_message, error_class, retry_count, state, channels, owed_recipients, created_at,
                             last_retry_at, next_retry_at, deferred_since, deferrals, priority, content_hash, delivery_key, accepted_at, expires_at,
                             traceparent, host)
      SELECT l.id, l.alert_id, l.user_id, l.alert_data, l.error_message, l.error_class, l.retry_count,
             CASE l.state WHEN 'queued' THEN 'waiting' ELSE l.state END, l.channels,
             (SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(l.owed_recipients) o
              WHERE NOT EXISTS (SELECT FROM jsonb_array_elements_text(o.value) e
                                WHERE NOT EXISTS (SELECT FROM recipients r WHERE r.recipient_id::text = e AND r.user_id = l.user_id AND r.channel = o.key))),
             l.created_at, l.last_retry_at,
             CASE l.state WHEN 'queued' THEN clock_timestamp() WHEN 'waiting' THEN coalesce(l.next_retry_at, clock_timestamp()) END, l.deferred_since, l.deferrals,
             l.priority, l.content_hash, l.delivery_key, l.accepted_at, l.expires_at, l.traceparent, l.host
      FROM jsonb_populate_recordset(NULL::alert_dlq, letters) l
      WHERE NOT EXISTS (SELECT FROM alert_dlq d WHERE d.id = l.id)
      ON CONFLICT DO NOTHING
      RETURNING 1
    )
    SELECT count(*) INTO imported FROM brought;
  EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
    RAISE EXCEPTION 'the letters are none' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = SQLERRM, HINT = 'A letter is to_jsonb() of a row of alert_dlq, as `pgalert dlq export` writes it.';
  END;
  IF imported > 0 THEN
    PERFORM _log_action('import', imported);
  END IF;
  RETURN imported;
END
$$;
COMMENT ON FUNCTION import_dead_letters(jsonb) IS 'Takes in dead letters, each to_jsonb() of a row of alert_dlq; returns how many. One whose id is there already is skipped, a queued one becomes waiting and due, as a waiting one that does not say when it is due. Addresses still owed that are not the user''s here are forgotten: all of the user''s for that channel are owed then. Raises 22023 for what is no letter.';
