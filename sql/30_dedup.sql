-- Deduplication. A reservation is a row of dedup_keys; its unique keys decide every race.
--
-- An alert reserves content and day with one row: both, or nothing is written. A bulk call makes the entries of days before those of
-- contents, each sorted, so that two calls cannot wait for each other.
--
-- Functions on the way of every alert are PL/pgSQL, which keeps their plans: a SQL function that is not inlined is planned
-- anew in each transaction.

-- Takes keys whose time is over from the messages that have held them; until somebody wants such a key it stays, or is purged.
-- Rows are locked in one order, as in _lock_held, so that two calls that want keys of the same messages crosswise do not wait for each other.
CREATE FUNCTION _free_expired(day_keys uuid[], content_keys uuid[], at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pgalert, pg_temp SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
  PERFORM FROM dedup_keys k
  WHERE k.ctid = ANY (ARRAY(SELECT d.ctid FROM dedup_keys d WHERE d.day_key = ANY (day_keys) AND (d.day_until > at) IS NOT TRUE
                            UNION ALL
                            SELECT c.ctid FROM dedup_keys c WHERE c.content_key = ANY (content_keys) AND (c.content_until > at) IS NOT TRUE))
  ORDER BY k.owner, k.content_key FOR UPDATE;
  UPDATE dedup_keys k SET day_key = NULL WHERE k.day_key = ANY (day_keys) AND (k.day_until > at) IS NOT TRUE;
  UPDATE dedup_keys k SET content_key = NULL WHERE k.content_key = ANY (content_keys) AND (k.content_until > at) IS NOT TRUE;
END
$$;

-- Locks what messages still hold of these keys, in the order of _free_expired.
CREATE FUNCTION _lock_held(day_keys uuid[], content_keys uuid[], owners uuid[]) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  SELECT FROM dedup_keys k
  WHERE k.ctid = ANY (ARRAY(SELECT d.ctid FROM dedup_keys d WHERE d.day_key = ANY (day_keys) AND d.owner = ANY (owners)
                            UNION ALL
                            SELECT c.ctid FROM dedup_keys c WHERE c.content_key = ANY (content_keys) AND c.owner = ANY (owners)))
  ORDER BY k.owner, k.content_key FOR UPDATE;
$$;

-- Gives keys back that are still their owner's: by now another message may hold them.
CREATE FUNCTION _give_back(day_keys uuid[], content_keys uuid[], owners uuid[]) RETURNS void
LANGUAGE sql VOLATILE
AS $$
  SELECT _lock_held(day_keys, content_keys, owners);
  DELETE FROM dedup_keys k USING unnest(day_keys, owners) AS g (key, owner) WHERE k.day_key = g.key AND k.owner = g.owner;
  DELETE FROM dedup_keys k USING unnest(content_keys, owners) AS g (key, owner) WHERE k.content_key = g.key AND k.owner = g.owner;
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
  RETURN EXISTS (SELECT FROM _segments(clock_timestamp() - lookback) s
                 CROSS JOIN LATERAL (SELECT FROM alert_deliveries d
                                     WHERE d.segment = s.segment AND hashtext(d.content_hash) = hashtext(check_duplicate_delivery.content_hash)
                                       AND d.content_hash = check_duplicate_delivery.content_hash AND d.delivered_at > clock_timestamp() - lookback
                                     OFFSET 0) AS d)
      OR EXISTS (SELECT FROM dedup_keys k
                 WHERE lookback > '0' AND k.content_key = _content_key(check_duplicate_delivery.content_hash, NULL, NULL)
                   AND k.content_until > clock_timestamp());
END
$$;
COMMENT ON FUNCTION check_duplicate_delivery(text, interval) IS 'Whether this content was delivered within lookback (0 to 100 years), or is reserved by a message on its way. content_hash is that of compute_content_hash(condition, message, user_id). It only looks: deliver_alert decides by itself. Raises 22023 for a hash or interval that cannot be.';
