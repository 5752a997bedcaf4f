-- Waking sleepers. NOTIFY in every enqueue would halve throughput (its lock at commit is cluster-wide), so whoever
-- sleeps says until when, in a sequence, and only then it is notified.

CREATE FUNCTION _check_nap(nap interval) RETURNS void
LANGUAGE plpgsql IMMUTABLE
AS $$
BEGIN
  IF nap IS NULL OR nap NOT BETWEEN '0' AND '1 hour' THEN
    RAISE EXCEPTION 'nap is out of range' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('It is %s.', coalesce(nap::text, 'NULL')), HINT = 'Give an interval from 0 to 1 hour, and renew it.';
  END IF;
END
$$;

CREATE FUNCTION announce_sleep(nap interval) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  until bigint;
  known bigint;
BEGIN
  PERFORM _check_nap(nap);
  until := _now_ms() + (extract(epoch FROM nap) * 1000)::bigint;
  known := pg_sequence_last_value('pgalert.drivers_asleep_until');
  IF known IS NULL OR until > known THEN
    PERFORM setval('pgalert.drivers_asleep_until', until);
  END IF;
END
$$;
COMMENT ON FUNCTION announce_sleep(interval) IS 'Says that a driver sleeps for up to nap (0 to 1 hour) and listens to pgalert_outbox, so that firings notify it. Writes no row; renew it before it has passed, and claim once more before sleeping.';

-- Notifies drivers that sleep. Where nobody has said so since the server started, they are notified for ten seconds, in which one that
-- sleeps renews it.
CREATE FUNCTION _wake_drivers() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', '_wake_drivers_wrapper';

CREATE FUNCTION inbox_channel(user_id text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'inbox_channel_wrapper';

CREATE FUNCTION listen_inbox(nap interval DEFAULT '1 minute') RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
DECLARE
  until bigint;
BEGIN
  PERFORM _check_nap(nap);
  until := _now_ms() + (extract(epoch FROM nap) * 1000)::bigint;
  IF until > coalesce(pg_sequence_last_value('pgalert.inboxes_listening_until'), 0) THEN
    PERFORM setval('pgalert.inboxes_listening_until', until);
  END IF;
END
$$;
COMMENT ON FUNCTION listen_inbox(interval) IS 'Says that some live inbox listens for the next nap (0 to 1 hour), so that in-app alerts notify inbox_channel(user_id). Renew it before it has passed.';
COMMENT ON FUNCTION inbox_channel(text) IS 'Name of the channel to LISTEN to for a user''s live inbox.';

-- Notifies whoever shows that user's inbox.
CREATE FUNCTION _wake_inbox(user_id text) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_wake_inbox_wrapper';
