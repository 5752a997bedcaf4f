-- Which dead letters are meant: counts by kind of error, kept by a trigger, and the filter of the desk.

CREATE FUNCTION _count_letters() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    DELETE FROM letter_counts;
    RETURN NULL;
  ELSIF TG_OP = 'INSERT' AND _restoring() THEN
    RETURN NULL;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO letter_counts (state, error_class, channels, host, error_group, letters, first_at, last_at)
    SELECT a.state, a.error_class, a.channels, a.host, a.error_group, count(*), min(a.created_at), max(a.created_at)
    FROM after_rows a GROUP BY 1, 2, 3, 4, 5;
  END IF;
  IF TG_OP <> 'INSERT' THEN
    INSERT INTO letter_counts (state, error_class, channels, host, error_group, letters)
    SELECT b.state, b.error_class, b.channels, b.host, b.error_group, -count(*)
    FROM before_rows b GROUP BY 1, 2, 3, 4, 5;
  END IF;
  RETURN NULL;
END
$$;
CREATE TRIGGER inserted AFTER INSERT ON alert_dlq REFERENCING NEW TABLE AS after_rows FOR EACH STATEMENT EXECUTE FUNCTION _count_letters();
CREATE TRIGGER updated AFTER UPDATE ON alert_dlq REFERENCING NEW TABLE AS after_rows OLD TABLE AS before_rows FOR EACH STATEMENT EXECUTE FUNCTION _count_letters();
CREATE TRIGGER deleted AFTER DELETE ON alert_dlq REFERENCING OLD TABLE AS before_rows FOR EACH STATEMENT EXECUTE FUNCTION _count_letters();
CREATE TRIGGER truncated AFTER TRUNCATE ON alert_dlq FOR EACH STATEMENT EXECUTE FUNCTION _count_letters();

CREATE FUNCTION _all_letter_counts() RETURNS SETOF letter_counts
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  last added_up := _last_added_up('letters');
BEGIN
  RETURN QUERY
  SELECT c.* FROM letter_counts c WHERE c.xid >= last.below
  UNION ALL SELECT c.* FROM letter_counts c WHERE c.xid = ANY (last.open);
END
$$;

-- Adds the differences up, when there are more than the kinds that would be written anew, and many. What is not committed yet
-- is not seen and stays.
CREATE FUNCTION _add_up_letter_counts() RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  last  added_up;
  taken pg_snapshot;
  kinds bigint;
BEGIN
  IF NOT _may_add_up() THEN
    RETURN;
  END IF;
  last := _last_added_up('letters');
  IF (SELECT count(*) FROM _all_letter_counts()) <= 1000 + 2 * coalesce(last.left_rows, 0) THEN
    RETURN;
  END IF;
  WITH gone AS (DELETE FROM letter_counts c WHERE c.xid >= last.below OR c.xid = ANY (last.open) RETURNING *),
  sums AS (
    INSERT INTO letter_counts
    SELECT g.state, g.error_class, g.channels, g.host, g.error_group, sum(g.letters), min(g.first_at), max(g.last_at)
    FROM gone g GROUP BY 1, 2, 3, 4, 5 HAVING sum(g.letters) <> 0
    RETURNING 1
  )
  SELECT pg_current_snapshot(), count(*) INTO taken, kinds FROM sums;
  PERFORM _end_adding_up(last, taken, left_rows => kinds);
END
$$;

CREATE VIEW dlq_states AS
SELECT s.state, coalesce(sum(c.letters), 0)::bigint AS letters
FROM unnest('{waiting,queued,exhausted,permanent,expired}'::text[]) WITH ORDINALITY AS s (state, place)
LEFT JOIN _all_letter_counts() c ON c.state = s.state
GROUP BY s.state, s.place ORDER BY s.place;
COMMENT ON VIEW dlq_states IS 'How many dead letters are in each state, exactly. Its cost does not grow with their number.';

CREATE FUNCTION _bad_filter(problem text, hint text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  RAISE EXCEPTION 'the filter does not fit: %', problem USING ERRCODE = 'invalid_parameter_value',
    DETAIL = 'Nothing is done by a filter of which a part cannot be read.', HINT = hint;
END
$$;

-- The value of a key as text, of the JSON types allowed; an array is one of texts.
CREATE FUNCTION _check_filter(filter jsonb, texts text[], lists text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
  given record;
BEGIN
  IF filter IS NULL OR jsonb_typeof(filter) <> 'object' THEN
    PERFORM _bad_filter(format('it is %s', coalesce(jsonb_typeof(filter), 'NULL')), 'It is a JSON object; {} matches everything.');
  END IF;
  FOR given IN SELECT e.key, e.value, jsonb_typeof(e.value) AS kind FROM jsonb_each(filter) e LOOP
    IF given.key <> ALL (texts || lists) THEN
      PERFORM _bad_filter(format('it has the key "%s"', left(given.key, 100)), format('Keys are %s.', array_to_string(texts || lists, ', ')));
    ELSIF given.kind <> 'string' AND NOT (given.kind = 'array' AND given.key = ANY (lists)) THEN
      PERFORM _bad_filter(format('"%s" is of type %s', given.key, given.kind),
                          CASE WHEN given.key = ANY (lists) THEN 'Give a text or an array of texts.' ELSE 'Give a text.' END);
    ELSIF given.kind = 'array' AND jsonb_path_exists(given.value, '$[*] ? (@.type() != "string")') THEN
      PERFORM _bad_filter(format('"%s" has an element that is no text', given.key), 'Give an array of texts.');
    END IF;
  END LOOP;
END
$$;

CREATE FUNCTION _filter_texts(value jsonb) RETURNS text[]
LANGUAGE sql IMMUTABLE
AS $$
  SELECT CASE jsonb_typeof(value) WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(value)) ELSE ARRAY[value #>> '{}'] END
$$;

CREATE FUNCTION _filter_interval(key text, value text) RETURNS interval
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RETURN value::interval;
EXCEPTION WHEN data_exception THEN
  PERFORM _bad_filter(format('"%s" is no interval', key), 'Give one such as "1 hour".');
END
$$;

CREATE FUNCTION _filter_time(key text, value text) RETURNS timestamptz
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RETURN value::timestamptz;
EXCEPTION WHEN data_exception THEN
  PERFORM _bad_filter(format('"%s" is no time', key), 'Give one such as "2026-01-31 12:00+00".');
END
$$;

CREATE FUNCTION _filter_uuids(key text, texts text[]) RETURNS uuid[]
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  RETURN texts::uuid[];
EXCEPTION WHEN data_exception THEN
  PERFORM _bad_filter(format('"%s" is no UUID', key), 'Give one as it is listed.');
END
$$;

-- A value of a cursor, which is of the last row seen.
CREATE FUNCTION _seen_last(after jsonb, field text, type regtype) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  value text := after ->> field;  -- as it is written: a session may write times in a way that it cannot read
BEGIN
  BEGIN
    EXECUTE format('SELECT %L::%s', value, type);
  EXCEPTION WHEN data_exception THEN
    value := NULL;
  END;
  IF value IS NULL THEN
    RAISE EXCEPTION 'after is no cursor' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('Its "%s" is %s.', field, coalesce(quote_literal(left(after ->> field, 100)), 'missing')),
      HINT = 'Give the cursor of the last row seen, as it is listed, or NULL to begin.';
  END IF;
  RETURN value;
END
$$;

-- The same letters at any later time: ages become times, and what comes, or is tried, after now is left out.
CREATE FUNCTION _filter_of_now(filter jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  at      CONSTANT timestamptz := clock_timestamp();
  younger CONSTANT timestamptz := at - _filter_interval('older_than', filter ->> 'older_than');
  older   CONSTANT timestamptz := at - _filter_interval('newer_than', filter ->> 'newer_than');
BEGIN
  RETURN filter - '{older_than,newer_than}'::text[]
    || jsonb_build_object('created_before', least(at, younger, _filter_time('created_before', filter ->> 'created_before')),
                          'last_retry_before', least(at, _filter_time('last_retry_before', filter ->> 'last_retry_before')))
    || CASE WHEN older IS NULL THEN '{}' ELSE
         jsonb_build_object('created_after', greatest(older, _filter_time('created_after', filter ->> 'created_after'))) END;
END
$$;

-- The filter as a condition on alert_dlq d: literals, so that each filter gets the plan that suits it.
CREATE FUNCTION _letter_condition(filter jsonb) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  given     record;
  condition text := 'true';
  states    CONSTANT text[] := ARRAY['waiting', 'queued', 'exhausted', 'permanent', 'expired'];
BEGIN
  PERFORM _check_filter(filter, '{channel,channels,error_group,host,alert_id,user_id,older_than,newer_than,created_before,created_after,last_retry_before}', '{ids,state,error_class}');
  FOR given IN SELECT e.key, _filter_texts(e.value) AS texts FROM jsonb_each(filter) e LOOP
    IF given.key = 'state' AND NOT given.texts <@ states THEN
      PERFORM _bad_filter('"state" names none of a dead letter', format('States are %s.', array_to_string(states, ', ')));
    END IF;
    condition := condition || ' AND ' || CASE given.key
      WHEN 'ids' THEN format('d.id = ANY (%L::uuid[])', _filter_uuids(given.key, given.texts))
      WHEN 'channel' THEN format('%L = ANY (d.channels)', given.texts[1])
      WHEN 'channels' THEN format('d.channels = %L::text[]', CASE given.texts[1] WHEN '-' THEN '{}' ELSE string_to_array(given.texts[1], ',') END)
      WHEN 'host' THEN CASE given.texts[1] WHEN '-' THEN 'd.host IS NULL' ELSE format('d.host = %L', given.texts[1]) END
      WHEN 'older_than' THEN format('d.created_at <= %L::timestamptz', clock_timestamp() - _filter_interval(given.key, given.texts[1]))
      WHEN 'newer_than' THEN format('d.created_at > %L::timestamptz', clock_timestamp() - _filter_interval(given.key, given.texts[1]))
      WHEN 'created_before' THEN format('d.created_at <= %L::timestamptz', _filter_time(given.key, given.texts[1]))
      WHEN 'created_after' THEN format('d.created_at > %L::timestamptz', _filter_time(given.key, given.texts[1]))
      WHEN 'last_retry_before' THEN format('coalesce(d.last_retry_at < %L::timestamptz, true)', _filter_time(given.key, given.texts[1]))
      -- An index gives the letters of one value in their order, of several it does not.
      ELSE CASE cardinality(given.texts) WHEN 1 THEN format('d.%I = %L', given.key, given.texts[1]) ELSE format('d.%I = ANY (%L::text[])', given.key, given.texts) END
    END;
  END LOOP;
  RETURN condition;
END
$$;
