-- Retry of many dead letters in steps: 1 % of them, then 10 %, then the rest, as long as not too many fail.

CREATE FUNCTION _retry_step(gradual gradual_retries) RETURNS gradual_retries
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  most CONSTANT integer := CASE gradual.step WHEN 0 THEN ceil(gradual.total * 0.01) WHEN 1 THEN ceil(gradual.total * 0.1) ELSE 10000 END;
  more boolean;
BEGIN
  gradual.step_letters := _lock_matching(gradual.filter, greatest(1, least(most, 10000)));
  gradual.step_removed := 0;
  gradual.queued := gradual.queued + cardinality(gradual.step_letters);
  IF gradual.step_letters <> '{}' THEN
    PERFORM _enqueue_letters(gradual.step_letters, true), _wake_drivers();
    RETURN gradual;
  END IF;
  EXECUTE format('SELECT EXISTS (SELECT FROM alert_dlq d WHERE d.state <> ''queued'' AND %s)', _letter_condition(gradual.filter)) INTO more;
  IF NOT more THEN  -- else others hold what is left: the same step is tried again
    gradual.state := 'done';
    gradual.ended_at := clock_timestamp();
  END IF;
  RETURN gradual;
END
$$;

CREATE FUNCTION _save_step(gradual gradual_retries) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  UPDATE gradual_retries g
  SET step = gradual.step, step_letters = gradual.step_letters, step_removed = gradual.step_removed, queued = gradual.queued,
      delivered = gradual.delivered, failed = gradual.failed, state = gradual.state, ended_at = gradual.ended_at
  WHERE g.id = gradual.id
$$;

-- Letters that a person removes have not been delivered.
CREATE FUNCTION _leave_gradual_retries(ids uuid[]) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  UPDATE gradual_retries g
  SET step_letters = ARRAY(SELECT l FROM unnest(g.step_letters) l WHERE l <> ALL (ids)),
      step_removed = g.step_removed + (SELECT count(*) FROM unnest(g.step_letters) l WHERE l = ANY (ids))
  WHERE g.state = 'running' AND g.step_letters && ids
$$;

CREATE FUNCTION retry_gradually(filter jsonb, max_failure_share double precision DEFAULT 0.1, reason text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  gradual gradual_retries;
BEGIN
  IF max_failure_share IS NULL OR NOT max_failure_share BETWEEN 0 AND 1 THEN
    RAISE EXCEPTION 'max_failure_share is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(max_failure_share::text, 'NULL')), HINT = 'Give a share from 0 to 1, such as 0.1.';
  END IF;
  EXECUTE format('SELECT count(*) FROM alert_dlq d WHERE d.state <> ''queued'' AND %s', _letter_condition(filter)) INTO gradual.total;
  INSERT INTO gradual_retries AS g (filter, started_by, reason, total, max_failure_share)
  VALUES (_filter_of_now(filter), _operator(), nullif(left(reason, 1000), ''), gradual.total, max_failure_share)
  RETURNING g.* INTO gradual;
  PERFORM _save_step(_retry_step(gradual));
  PERFORM _log_action('retry_gradually', gradual.total, filter => filter, reason => reason, detail => jsonb_build_object('id', gradual.id, 'max_failure_share', max_failure_share));
  RETURN gradual.id;
END
$$;
COMMENT ON FUNCTION retry_gradually(jsonb, double precision, text) IS 'Retries the letters that match a filter (see retry_matching) in steps: 1 %, 10 %, then the rest in parts of 10,000. The next step begins when all letters of one have ended; it stops where more than max_failure_share (0 to 1) of a step were not delivered. Returns its id. maintain() and schedule_retries() carry it on. Raises 22023 for what is no filter or share.';

CREATE FUNCTION advance_gradual_retries() RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  gradual  gradual_retries;
  open     bigint;
  missed   bigint;
  tried    bigint;
  advanced integer := 0;
BEGIN
  FOR gradual IN SELECT g.* FROM gradual_retries g WHERE g.state = 'running' ORDER BY g.id FOR UPDATE SKIP LOCKED LOOP
    SELECT count(*) FILTER (WHERE d.state = 'queued'), count(*) FILTER (WHERE d.state <> 'queued') INTO open, missed
    FROM unnest(gradual.step_letters) l JOIN alert_dlq d ON d.id = l;
    CONTINUE WHEN open > 0;
    tried := cardinality(gradual.step_letters) + gradual.step_removed;
    missed := missed + gradual.step_removed;
    gradual.failed := gradual.failed + missed;
    gradual.delivered := gradual.delivered + tried - missed;
    IF missed > gradual.max_failure_share * tried THEN
      gradual.state := 'stopped';
      gradual.ended_at := clock_timestamp();
      gradual.step_letters := '{}';
    ELSE
      IF tried > 0 THEN
        gradual.step := least(gradual.step + 1, 2);
      END IF;
      gradual := _retry_step(gradual);
    END IF;
    PERFORM _save_step(gradual);
    advanced := advanced + 1;
  END LOOP;
  RETURN advanced;
END
$$;
COMMENT ON FUNCTION advance_gradual_retries() IS 'Carries on the gradual retries of which a step has ended; returns how many. Called by maintain() and schedule_retries(); several at once are harmless.';

CREATE FUNCTION stop_gradual_retry(id bigint, reason text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  UPDATE gradual_retries g SET state = 'stopped', ended_at = clock_timestamp(), step_letters = '{}'
  WHERE g.id = stop_gradual_retry.id AND g.state = 'running';
  IF FOUND THEN
    PERFORM _log_action('stop_gradual_retry', 0, reason => reason, detail => jsonb_build_object('id', id));
    RETURN true;
  END IF;
  RETURN false;
END
$$;
COMMENT ON FUNCTION stop_gradual_retry(bigint, text) IS 'Stops a gradual retry: what is queued is sent, nothing more is queued. Returns false where none of that id was running.';

CREATE FUNCTION list_gradual_retries(max_rows integer DEFAULT 20)
RETURNS TABLE (id bigint, filter jsonb, started_at timestamptz, started_by text, reason text, total bigint, max_failure_share double precision,
               step smallint, queued bigint, delivered bigint, failed bigint, state text, ended_at timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  PERFORM _check_max_rows(max_rows, 1000);
  RETURN QUERY
  SELECT g.id, g.filter, g.started_at, g.started_by, g.reason, g.total, g.max_failure_share, g.step, g.queued, g.delivered, g.failed, g.state, g.ended_at
  FROM gradual_retries g ORDER BY g.id DESC LIMIT max_rows;
END
$$;
COMMENT ON FUNCTION list_gradual_retries(integer) IS 'Gradual retries, the newest first, up to max_rows (1 to 1000). step: 0 is 1 %, 1 is 10 %, 2 the rest; state: running, done or stopped.';
