-- Breakers: a driver keeps its own in memory, and writes down here which hosts it leaves alone, so that one screen shows them all.

-- Makes the rows of a worker equal to what it says, and writes only those that differ.
CREATE FUNCTION report_breakers(worker text, breakers jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  PERFORM _check_text('worker', worker, 255);
  IF breakers IS NULL OR jsonb_typeof(breakers) <> 'array' OR jsonb_path_exists(breakers, 'strict $[*] ? (@.type() != "object")') THEN
    RAISE EXCEPTION 'breakers must be a JSON array of objects' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(left(breakers::text, 100), 'NULL')), HINT = 'Each element is {"channel": "...", "host": "...", "pause_s": 30}.';
  END IF;
  IF EXISTS (SELECT FROM jsonb_to_recordset(breakers) AS b (channel text, host text, pause_s double precision)
             WHERE b.channel IS NULL OR b.host IS NULL OR b.pause_s IS NULL OR b.pause_s NOT BETWEEN 0 AND 86400) THEN
    RAISE EXCEPTION 'a breaker is not complete' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = 'One has no channel, no host, or no pause of 0 to 86400 seconds.', HINT = 'Each element is {"channel": "...", "host": "...", "pause_s": 30}.';
  END IF;
  WITH told AS MATERIALIZED (
    SELECT left(b.channel, 255) AS channel, left(b.host, 255) AS host, max(clock_timestamp() + b.pause_s * interval '1 second') AS open_until
    FROM jsonb_to_recordset(breakers) AS b (channel text, host text, pause_s double precision) GROUP BY 1, 2
  ), closed AS (
    DELETE FROM breakers b WHERE b.worker = report_breakers.worker AND (b.channel, b.host) NOT IN (SELECT t.channel, t.host FROM told t)
  )
  INSERT INTO breakers AS b (worker, channel, host, open_until)
  SELECT report_breakers.worker, t.channel, t.host, t.open_until FROM told t
  ON CONFLICT ON CONSTRAINT breakers_pkey DO UPDATE SET open_until = excluded.open_until
  WHERE excluded.open_until > b.open_until + interval '1 second' AND excluded.open_until > clock_timestamp();  -- one that is due stays due
END
$$;
COMMENT ON FUNCTION report_breakers(text, jsonb) IS 'Says which breakers of a worker are not closed, all of them: an array of {"channel", "host", "pause_s": seconds until the host is tried, 0 where that is due}. Raises 22023 for what is none.';

CREATE FUNCTION open_breakers()
RETURNS TABLE (channel text, host text, state text, open_until timestamptz, worker text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
  SELECT b.channel, b.host, CASE WHEN b.open_until > clock_timestamp() THEN 'open' ELSE 'half_open' END, b.open_until, b.worker
  FROM breakers b ORDER BY b.channel, b.host, b.worker
$$;
COMMENT ON FUNCTION open_breakers() IS 'Hosts that a worker leaves alone after failures in a row: open until a time, then half_open, which the next message tries. An hour after that maintain() forgets them.';
