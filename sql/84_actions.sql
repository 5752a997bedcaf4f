-- Who did what by hand.

CREATE FUNCTION list_actions(filter jsonb DEFAULT '{}', after jsonb DEFAULT NULL, max_rows integer DEFAULT 50)
RETURNS TABLE (id bigint, at timestamptz, operator text, action text, dlq_id uuid, matching jsonb, letters integer, reason text, detail jsonb, cursor jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET jit = off
AS $$
DECLARE
  given     record;
  condition text := 'true';
BEGIN
  PERFORM _check_filter(filter, '{dlq_id,older_than,newer_than}', '{operator,action}'), _check_max_rows(max_rows, 10000);
  FOR given IN SELECT e.key, _filter_texts(e.value) AS texts FROM jsonb_each(filter) e LOOP
    condition := condition || ' AND ' || CASE given.key
      WHEN 'dlq_id' THEN format('o.dlq_id = %L::uuid', (_filter_uuids(given.key, given.texts))[1])
      WHEN 'older_than' THEN format('o.at <= %L::timestamptz', clock_timestamp() - _filter_interval(given.key, given.texts[1]))
      WHEN 'newer_than' THEN format('o.at > %L::timestamptz', clock_timestamp() - _filter_interval(given.key, given.texts[1]))
      ELSE format('o.%I = ANY (%L::text[])', given.key, given.texts)
    END;
  END LOOP;
  IF after IS NOT NULL THEN
    condition := condition || format(' AND o.id < %L::bigint', _seen_last(after, 'id', 'bigint'));
  END IF;
  RETURN QUERY EXECUTE format($sql$
    SELECT o.id, o.at, o.operator, o.action, o.dlq_id, o.filter, o.letters, o.reason, o.detail, jsonb_build_object('id', o.id)
    FROM operator_log o WHERE %s ORDER BY o.id DESC LIMIT %s
  $sql$, condition, max_rows);
END
$$;
COMMENT ON FUNCTION list_actions(jsonb, jsonb, integer) IS 'What persons did with dead letters and disabled addresses (operator_log), the newest first, up to max_rows (1 to 10000); after: the cursor of the last row seen. Filter: {"operator", "action", "dlq_id", "older_than": "1 hour", "newer_than"}, all optional; of operator and action several may be given as an array. matching: the filter of an action on many. Raises 22023 for what is no filter.';
