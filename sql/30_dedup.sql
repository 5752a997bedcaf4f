-- Deduplication. A reservation is a row of dedup_keys; the unique key decides every race.
--
-- Order: callers look for live keys first and answer without writing. Whoever goes on reserves keys of days before keys
-- of contents, each sorted, so that two calls cannot wait for each other.
--
-- Functions on the way of every alert are PL/pgSQL, which keeps their plans: a SQL function that is not inlined is planned
-- anew in each transaction.

-- Reserves keys in the order given and returns those it got; waits for a transaction that holds one uncommitted.
CREATE FUNCTION _reserve(keys uuid[], until timestamptz[], owners uuid[], at timestamptz) RETURNS uuid[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  got uuid[];
BEGIN
  WITH reserved AS (
    INSERT INTO dedup_keys AS held (key, expires_at, owner)
    SELECT w.key, w.expires_at, w.owner
    FROM unnest(keys, until, owners) WITH ORDINALITY AS w (key, expires_at, owner, place)
    WHERE w.key IS NOT NULL
    ORDER BY w.place
    ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at, owner = excluded.owner
      WHERE held.expires_at <= at
    RETURNING held.key)
  SELECT coalesce(array_agg(r.key), '{}') INTO got FROM reserved r;
  RETURN got;
END
$$;

-- Gives keys back that are still their owner's: by now another message may hold them.
CREATE FUNCTION _give_back(keys uuid[], owners uuid[]) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  DELETE FROM dedup_keys k USING unnest(keys, owners) AS g (key, owner) WHERE k.key = g.key AND k.owner = g.owner
$$;

CREATE FUNCTION check_duplicate_delivery(content_hash text, lookback interval DEFAULT '24 hours') RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  PERFORM _check_text('content_hash', content_hash, 255);
  IF lookback IS NULL OR lookback NOT BETWEEN '0' AND '100 years' THEN
    RAISE EXCEPTION 'lookback is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(lookback::text, 'NULL')), HINT = 'Give an interval from 0 to 100 years, such as ''24 hours''.';
  END IF;
  RETURN EXISTS (SELECT FROM alert_deliveries d
                 WHERE hashtext(d.content_hash) = hashtext(check_duplicate_delivery.content_hash)
                   AND d.content_hash = check_duplicate_delivery.content_hash AND d.delivered_at > clock_timestamp() - lookback)
      OR EXISTS (SELECT FROM dedup_keys k
                 WHERE lookback > '0' AND k.key = _dedup_key('content', check_duplicate_delivery.content_hash)
                   AND k.expires_at > clock_timestamp());
END
$$;
COMMENT ON FUNCTION check_duplicate_delivery(text, interval) IS 'Whether this content was delivered within lookback (0 to 100 years), or is reserved by a message on its way. content_hash is that of compute_content_hash(condition, message, user_id). It only looks: deliver_alert decides by itself. Raises 22023 for a hash or interval that cannot be.';
