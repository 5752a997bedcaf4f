-- Report: outcomes become deliveries and dead letters. All outcomes of one channel of a message come in one call.

-- Outcomes as rows; a value of a wrong type is an error of jsonb_to_recordset.
CREATE FUNCTION _outcome_rows(outcomes jsonb)
RETURNS TABLE (delivery_key uuid, message_id bigint, channel text, recipient_id bigint, outcome text, error_class text, error text, permanent boolean,
               retry_after_s double precision, host text, duration_ms double precision)
LANGUAGE sql IMMUTABLE
AS $$
  SELECT * FROM jsonb_to_recordset(outcomes)
    AS o (delivery_key uuid, message_id bigint, channel text, recipient_id bigint, outcome text, error_class text, error text, permanent boolean,
          retry_after_s double precision, host text, duration_ms double precision)
$$;

-- Whether an outcome is of a message. Retries of two letters of one alert have the same delivery key; where an outcome names its
-- message, it is of that one alone.
CREATE FUNCTION _is_of(outcome_key uuid, outcome_message bigint, delivery_key uuid, message_id bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE
AS $$ SELECT outcome_key = delivery_key AND coalesce(outcome_message = message_id, true) $$;

-- Raises where an outcome is of no message of the claim, or of a channel that the message does not owe, or where of two
-- outcomes of a message one names it and the other does not.
CREATE FUNCTION _check_familiar(claim claims, outcomes jsonb) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  stranger record;
BEGIN
  SELECT o.delivery_key, o.channel INTO stranger FROM _outcome_rows(outcomes) o
  WHERE NOT EXISTS (SELECT FROM _claim_rows(claim) m WHERE _is_of(o.delivery_key, o.message_id, m.delivery_key, m.message_id) AND o.channel = ANY (m.channels)) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'an outcome is not of this claim' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('message %s has no channel "%s" in claim %s', stranger.delivery_key, stranger.channel, claim.claim_id),
      HINT = 'Nothing was recorded. Report only messages and channels that claim_batch() returned for this claim.';
  END IF;
  SELECT o.delivery_key INTO stranger FROM _outcome_rows(outcomes) o
  GROUP BY o.delivery_key HAVING count(o.message_id) NOT IN (0, count(*)) LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'of the outcomes of a message some name it and some do not' USING ERRCODE = 'invalid_parameter_value',
      DETAIL = format('They are of message %s.', stranger.delivery_key),
      HINT = 'Nothing was recorded. Give message_id, as claim_batch() returned it, in all outcomes of a message or in none.';
  END IF;
END
$$;

-- Of what outcomes tell, messages of which one channel was told of, as delivered; without those that are named and were
-- finished before. told: what _owed_is_told reads. message_ids: of all of them, or empty. They lie from first_id to last_id.
-- every: nothing else was told.
CREATE FUNCTION _delivered_whole(outcomes jsonb, finished bigint[],
  OUT told bytea, OUT messages integer, OUT message_ids bigint[], OUT first_id bigint, OUT last_id bigint, OUT every boolean)
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', '_delivered_whole_wrapper';

-- Whether the channel that was told of is all that a message owes. `told` must be the same at all calls of a query.
CREATE FUNCTION _owed_is_told(told bytea, delivery_key uuid, message_id bigint, channels text[]) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', '_owed_is_told_wrapper';

-- The channels of a delivery as jsonb: to_jsonb() asks at each call of what type its argument is.
CREATE FUNCTION _methods(before text[], now text[]) RETURNS jsonb
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', '_methods_wrapper';

-- Messages of a claim that were delivered whole and are no retries. Of their columns what a delivery needs: each level of a plan
-- passes on all that it is given.
CREATE FUNCTION _whole_rows(claim claims, told bytea, messages integer, first_id bigint, last_id bigint)
RETURNS TABLE (message_id bigint, delivery_key uuid, alert_id text, user_id text, content_hash text, channels text[], delivered_channels text[],
               attempt integer, priority text, accepted_at timestamptz)
LANGUAGE sql STABLE
AS $$
  SELECT m.message_id, m.delivery_key, m.alert_id, m.user_id, m.content_hash, m.channels, m.delivered_channels, m.attempt, m.priority, m.accepted_at
  FROM _claim_rows(claim, first_id, last_id) m
  WHERE m.dlq_id IS NULL AND _owed_is_told(told, m.delivery_key, m.message_id, m.channels)
  LIMIT messages
$$;

-- Records outcomes of a claim that the caller has locked; returns how many messages they finish. A message is finished
-- when each of its channels has an outcome: it gets its delivery row and its place in the log.
CREATE FUNCTION _record(claim claims, progress claim_progress, outcomes jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  whole      record;
  finished   bigint[];
  deliveries integer;
  others     integer := 0;
BEGIN
  whole := _delivered_whole(outcomes, progress.finished);
  IF whole.messages > 0 THEN  -- mostly nearly all that are reported
    INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, segment, priority, accepted_at)
    SELECT m.alert_id, m.user_id, m.content_hash, _methods(m.delivered_channels, m.channels), m.delivery_key, m.attempt, (SELECT _segment()), m.priority, m.accepted_at
    FROM _whole_rows(claim, whole.told, whole.messages, whole.first_id, whole.last_id) m;
    GET DIAGNOSTICS deliveries = ROW_COUNT;
    IF deliveries = whole.messages AND whole.message_ids <> '{}' THEN
      finished := whole.message_ids;
    ELSIF deliveries > 0 THEN
      finished := (SELECT array_agg(m.message_id) FROM _whole_rows(claim, whole.told, whole.messages, whole.first_id, whole.last_id) m);
    END IF;
  END IF;
  IF finished IS NULL THEN
    RETURN _record_each(claim, progress, outcomes);
  END IF;
  INSERT INTO claim_log (slot, claim_id, finished, ended)
  VALUES (claim.slot, claim.claim_id, finished,
          CASE WHEN cardinality(progress.finished) + cardinality(finished) >= claim.messages THEN 'finished' END);
  IF NOT whole.every OR deliveries < whole.messages THEN
    progress.finished := progress.finished || finished;
    others := _record_each(claim, progress, outcomes);
  END IF;
  PERFORM _count_sent(deliveries), _next_segment(deliveries);  -- nothing raises any more: a counter is not undone
  RETURN deliveries + others;
END
$$;

-- The same for outcomes of all kinds. Where a channel was not reached, or the message is a retry, _settle does the rest.
CREATE FUNCTION _record_each(claim claims, progress claim_progress, outcomes jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  familiar   boolean;
  deliveries integer;
  finished   bigint[];
  missed     bigint[];
  incomplete bigint[];
  earlier    jsonb := progress.partial;
BEGIN
  IF earlier <> '[]' THEN
    PERFORM _told(outcomes, '[]');  -- says what cannot be read
    -- What was kept names its message. Where this worker does not, neither do they.
    earlier := (SELECT jsonb_agg(CASE WHEN u.key IS NULL THEN p ELSE p - 'message_id' END)
                FROM jsonb_array_elements(earlier) p
                LEFT JOIN (SELECT DISTINCT o.delivery_key AS key FROM _outcome_rows(outcomes) o WHERE o.message_id IS NULL) AS u
                       ON u.key = (p ->> 'delivery_key')::uuid);
  END IF;
  WITH told AS MATERIALIZED (
    SELECT * FROM _told(outcomes, earlier)
  ), span AS MATERIALIZED (
    SELECT CASE WHEN count(t.message_id) = count(*) THEN min(t.message_id) END AS first,
           CASE WHEN count(t.message_id) = count(*) THEN max(t.message_id) END AS last,
           count(t.message_id) IN (0, count(*)) AS alike
    FROM told t
  ), message AS MATERIALIZED (
    SELECT m.message_id, m.delivery_key, m.alert_id, m.user_id, m.content_hash, m.attempt, m.priority, m.accepted_at,
           coalesce(t.delivered || t.missed <@ m.channels, false) AS familiar, m.channels <@ (t.delivered || t.missed) AS finished,
           m.dlq_id IS NULL AND (t.missed && m.channels) IS NOT TRUE AS happy,
           m.delivered_channels || CASE WHEN t.missed IS NULL THEN m.channels
                                        ELSE ARRAY(SELECT c FROM unnest(m.channels) c WHERE c = ANY (t.delivered)) END AS reached,
           EXISTS (SELECT FROM unnest(progress.finished) f WHERE f = m.message_id) AS known
    FROM (SELECT m.* FROM span s CROSS JOIN LATERAL _claim_rows(claim, s.first, s.last) m) AS m
    RIGHT JOIN told t ON _is_of(t.delivery_key, t.message_id, m.delivery_key, m.message_id)
  ), delivery AS (
    INSERT INTO alert_deliveries (alert_id, user_id, content_hash, delivery_methods, delivery_key, attempt, segment, priority, accepted_at)
    SELECT m.alert_id, m.user_id, m.content_hash, to_jsonb(m.reached), m.delivery_key, m.attempt, (SELECT _segment()), m.priority, m.accepted_at
    FROM message m
    WHERE m.finished AND NOT m.known AND m.reached <> '{}'
  )
  SELECT bool_and(m.familiar) AND bool_and(s.alike),
         count(*) FILTER (WHERE m.finished AND NOT m.known AND m.reached <> '{}'),
         array_agg(m.message_id) FILTER (WHERE m.finished AND NOT m.known),
         array_agg(m.message_id) FILTER (WHERE m.finished AND NOT m.known AND NOT m.happy),
         array_agg(m.message_id) FILTER (WHERE NOT m.finished)
  INTO familiar, deliveries, finished, missed, incomplete
  FROM message m CROSS JOIN span s;

  IF NOT familiar THEN
    PERFORM _check_familiar(claim, outcomes);
  END IF;
  PERFORM _count_sent(deliveries), _next_segment(deliveries);
  IF finished IS NOT NULL OR incomplete IS NOT NULL THEN
    INSERT INTO claim_log (slot, claim_id, finished, partial, ended)
    VALUES (claim.slot, claim.claim_id, coalesce(finished, '{}'),
            CASE WHEN incomplete IS NOT NULL THEN
              (SELECT jsonb_agg(o || jsonb_build_object('message_id', m.message_id))
               FROM _claim_rows(claim) m
               JOIN jsonb_array_elements(outcomes) o ON _is_of((o ->> 'delivery_key')::uuid, (o ->> 'message_id')::bigint, m.delivery_key, m.message_id)
               WHERE m.message_id = ANY (incomplete)
                 AND NOT EXISTS (SELECT FROM jsonb_array_elements(progress.partial) p
                                 WHERE (p ->> 'message_id')::bigint = m.message_id AND p ->> 'channel' = o ->> 'channel')) END,
            CASE WHEN cardinality(progress.finished) + coalesce(cardinality(finished), 0) >= claim.messages THEN 'finished' END);
  END IF;
  IF missed IS NOT NULL THEN
    PERFORM _settle(claim, missed, outcomes || earlier);
  END IF;
  RETURN coalesce(cardinality(finished), 0);
END
$$;

-- When a letter is due: what expires before its retry ends then.
CREATE FUNCTION _due_by(retry_at timestamptz, expires_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
AS $$ SELECT CASE WHEN retry_at IS NOT NULL THEN least(retry_at, expires_at) END $$;

-- What became of finished messages of which some channel was not reached, and of retries: failures are logged, and the
-- channels still owed become dead letters, one for each fate (waiting, permanent, expired), or go back into the one retried.
CREATE FUNCTION _settle(claim claims, messages bigint[], outcomes jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  settled_at CONSTANT timestamptz := clock_timestamp();  -- first the failure, then what became of its letter
BEGIN
  -- With the other letters of their alerts: of two reports that end them at once, the later sees that the keys are nobody's.
  PERFORM FROM alert_dlq d
  WHERE d.id = ANY (ARRAY(SELECT l.id FROM _claim_rows(claim) m
                          CROSS JOIN LATERAL (SELECT s.id FROM alert_dlq s WHERE s.delivery_key = m.delivery_key OFFSET 0) AS l
                          WHERE m.message_id = ANY (messages) AND m.dlq_id IS NOT NULL))
  ORDER BY d.id FOR UPDATE;
  -- What a retry has delivered keeps its content longer, below: what is given back after that is locked with it, in one order.
  PERFORM _lock_held(array_agg(m.day_key), array_agg(m.content_key), array_agg(m.delivery_key))
  FROM _claim_rows(claim) m WHERE m.message_id = ANY (messages) HAVING bool_or(m.dlq_id IS NOT NULL);

  WITH message AS MATERIALIZED (
    SELECT m.* FROM _claim_rows(claim) m WHERE m.message_id = ANY (messages)
  ), outcome AS MATERIALIZED (
    SELECT DISTINCT ON (m.message_id, o.channel, o.recipient_id) m.message_id, o.channel, o.recipient_id, o.outcome,
           coalesce(nullif(left(o.error_class, 100), ''), 'unknown') AS error_class,
           coalesce(nullif(left(o.error, 2000), ''), 'no error text was given') AS error,
           CASE WHEN o.retry_after_s IS NOT NULL THEN least(o.retry_after_s, 2592000) END * interval '1 second' AS retry_after, left(o.host, 255) AS host, o.duration_ms,
           CASE WHEN o.outcome = 'failed' AND o.error_class = 'expired' THEN 'expired'
                WHEN o.outcome = 'failed' AND o.permanent THEN 'permanent'
                ELSE 'waiting' END AS fate
    FROM _outcome_rows(outcomes) o
    JOIN message m ON _is_of(o.delivery_key, o.message_id, m.delivery_key, m.message_id) AND o.channel = ANY (m.channels)
    ORDER BY m.message_id, o.channel, o.recipient_id, o.outcome = 'delivered'  -- of two that contradict, the one that is tried again
  ), failure AS (
    INSERT INTO delivery_failures (failed_at, delivery_key, dlq_id, alert_id, user_id, channel, recipient_id, attempt, outcome, error_class, error, host, duration_ms)
    SELECT settled_at, m.delivery_key, m.dlq_id, m.alert_id, m.user_id, o.channel, o.recipient_id, m.attempt, o.outcome, o.error_class, o.error, o.host, o.duration_ms
    FROM outcome o JOIN message m USING (message_id) WHERE o.outcome <> 'delivered'
    RETURNING nextval(_counter(outcome))
  ), owed AS MATERIALIZED (
    SELECT c.message_id, c.fate, array_agg(c.channel ORDER BY c.channel) AS channels,
           jsonb_object_agg(c.channel, coalesce(c.recipients, m.owed_recipients -> c.channel))
             FILTER (WHERE coalesce(c.recipients, m.owed_recipients -> c.channel) IS NOT NULL) AS owed_recipients,
           bool_or(c.failed) AS failed, max(c.retry_after) AS retry_after,
           left(string_agg(c.channel || ': ' || c.error, '; ' ORDER BY c.channel), 4000) AS error_message, min(c.error_class) AS error_class, min(c.host) AS host
    FROM (SELECT o.message_id, o.fate, o.channel, jsonb_agg(o.recipient_id) FILTER (WHERE o.recipient_id IS NOT NULL) AS recipients,
                 bool_or(o.outcome = 'failed') AS failed, max(o.retry_after) AS retry_after,
                 string_agg(DISTINCT o.error, ', ') AS error, min(o.error_class) AS error_class, min(o.host) AS host
          FROM outcome o WHERE o.outcome <> 'delivered' GROUP BY o.message_id, o.fate, o.channel) AS c
    JOIN message m USING (message_id)
    GROUP BY c.message_id, c.fate
  ), counted AS MATERIALIZED (
    SELECT o.*, m.dlq_id, m.expires_at, p.retry_schedule, p.jitter, coalesce(d.deferrals, 0) AS deferrals, d.deferred_since,
           -- the letter that was retried goes on with what waits; another fate beside it becomes a letter of its own
           m.dlq_id IS NOT NULL AND (o.fate = 'waiting' OR NOT EXISTS (SELECT FROM owed w WHERE w.message_id = o.message_id AND w.fate = 'waiting')) AS goes_on,
           o.failed OR coalesce(d.deferred_since < clock_timestamp() - interval '48 hours', false) AS counts,
           CASE WHEN m.dlq_id IS NULL THEN 0
                WHEN o.failed OR d.deferred_since < clock_timestamp() - interval '48 hours' THEN d.retry_count + 1
                ELSE d.retry_count END AS retry_count
    FROM owed o JOIN message m USING (message_id)
    JOIN all_policies p ON p.name = CASE WHEN EXISTS (SELECT FROM all_policies x WHERE x.name = m.priority) THEN m.priority ELSE 'normal' END
    LEFT JOIN alert_dlq d ON d.id = m.dlq_id
    WHERE m.dlq_id IS NULL OR d.id IS NOT NULL
  ), letter AS MATERIALIZED (
    SELECT c.*,
           CASE WHEN c.fate <> 'waiting' THEN c.fate
                WHEN c.counts AND t.delay IS NULL THEN 'exhausted'
                ELSE 'waiting' END AS state,
           CASE WHEN c.fate = 'waiting' THEN
             _due_by(clock_timestamp() + greatest(t.delay * (1 + CASE WHEN c.counts THEN c.jitter ELSE 0.2 END * random()), c.retry_after), c.expires_at) END AS due
    FROM counted c
    CROSS JOIN LATERAL (SELECT CASE WHEN c.counts THEN retry_delay(c.retry_count, c.retry_schedule)
                                    ELSE least(interval '30 seconds' * 2 ^ least(c.deferrals, 10), interval '15 minutes') END AS delay) AS t
  ), gone_on AS (
    UPDATE alert_dlq d SET state = l.state, channels = l.channels, owed_recipients = l.owed_recipients, retry_count = l.retry_count,
           error_message = l.error_message, error_class = l.error_class, host = l.host, last_retry_at = clock_timestamp(),
           next_retry_at = CASE WHEN l.state = 'waiting' THEN l.due END,
           deferred_since = CASE WHEN l.counts THEN NULL ELSE coalesce(d.deferred_since, clock_timestamp()) END,
           deferrals = CASE WHEN l.counts THEN 0 ELSE l.deferrals + 1 END
    FROM letter l WHERE l.goes_on AND d.id = l.dlq_id
    RETURNING CASE WHEN l.counts THEN nextval(_counter('retries_failed')) END, CASE WHEN l.state = 'exhausted' THEN nextval(_counter('exhausted')) END
  ), fresh AS (
    INSERT INTO alert_dlq (alert_id, user_id, alert_data, error_message, error_class, retry_count, state, channels, owed_recipients,
                           next_retry_at, deferred_since, deferrals, priority, content_hash, delivery_key, content_key, day_key,
                           accepted_at, expires_at, traceparent, host)
    SELECT m.alert_id, m.user_id, m.alert_data, l.error_message, l.error_class, l.retry_count, l.state, l.channels, l.owed_recipients,
           CASE WHEN l.state = 'waiting' THEN l.due END, CASE WHEN NOT l.counts THEN clock_timestamp() END,
           CASE WHEN l.counts THEN 0 ELSE 1 END, m.priority, m.content_hash, m.delivery_key, m.content_key, m.day_key,
           m.accepted_at, m.expires_at, m.traceparent, l.host
    FROM letter l JOIN message m USING (message_id) WHERE NOT l.goes_on
    RETURNING CASE WHEN state = 'exhausted' THEN nextval(_counter('exhausted')) END
  ), delivered AS (
    DELETE FROM alert_dlq d USING message m
    WHERE d.id = m.dlq_id AND NOT EXISTS (SELECT FROM owed o WHERE o.message_id = m.message_id)
    RETURNING nextval(_counter('retries_delivered'))
  )
  UPDATE dedup_keys k SET content_until = greatest(k.content_until, clock_timestamp() + p.dedup_window)
  FROM message m JOIN all_policies p ON p.name = m.priority
  WHERE m.dlq_id IS NOT NULL AND k.content_key = m.content_key AND k.owner = m.delivery_key
    AND EXISTS (SELECT FROM outcome o WHERE o.message_id = m.message_id AND o.outcome = 'delivered');

  IF jsonb_path_exists(outcomes, '$[*] ? (@.outcome == "failed" && @.error_class == "http.410")') THEN
    -- The receiver wants no more of it. Whoever owns the address enables it again.
    PERFORM _disable_recipient(g.recipient_id, g.error)
    FROM (SELECT DISTINCT ON (r.recipient_id) r.recipient_id, o.error
          FROM _outcome_rows(outcomes) o
          JOIN _claim_rows(claim) m ON m.delivery_key = o.delivery_key AND m.message_id = ANY (messages)
          CROSS JOIN LATERAL (SELECT r.* FROM recipients r
                              WHERE r.recipient_id = o.recipient_id AND r.user_id = m.user_id AND r.channel = o.channel OFFSET 0) AS r
          WHERE o.outcome = 'failed' AND o.error_class = 'http.410'
          ORDER BY r.recipient_id) AS g;
  END IF;

  PERFORM _end_reservations(array_agg(m.delivery_key), array_agg(m.content_hash), array_agg(m.content_key), array_agg(m.day_key),
                            array_agg(m.accepted_at))
  FROM _claim_rows(claim) m WHERE m.message_id = ANY (messages);
END
$$;

-- Gives back the keys of those messages that have ended without having reached anybody: the next firing must be heard.
CREATE FUNCTION _end_reservations(message_keys uuid[], content_hashes text[], content_keys uuid[], day_keys uuid[], accepted timestamptz[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_material = off
  SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
  PERFORM _give_back(array_agg(unreached.day_key), array_agg(unreached.content_key), array_agg(unreached.delivery_key))
  FROM (
    WITH ended AS MATERIALIZED (
      SELECT m.* FROM unnest(message_keys, content_hashes, content_keys, day_keys, accepted) AS m (delivery_key, content_hash, content_key, day_key, accepted_at)
      WHERE (EXISTS (SELECT FROM dedup_keys k WHERE k.content_key = m.content_key AND k.owner = m.delivery_key)
             OR EXISTS (SELECT FROM dedup_keys k WHERE k.day_key = m.day_key AND k.owner = m.delivery_key))
        AND NOT EXISTS (SELECT FROM alert_dlq d WHERE d.delivery_key = m.delivery_key AND d.state IN ('waiting', 'queued'))
    ), since AS MATERIALIZED (
      SELECT s.segment FROM _segments((SELECT min(e.accepted_at) FROM ended e)) s
    )
    SELECT e.* FROM ended e
    WHERE NOT EXISTS (SELECT FROM since s
                      CROSS JOIN LATERAL (SELECT FROM alert_deliveries d
                                          WHERE d.segment = s.segment AND hashtext(d.content_hash) = hashtext(e.content_hash) AND d.delivery_key = e.delivery_key
                                          OFFSET 0) AS d)
  ) AS unreached
  HAVING count(*) > 0;
END
$$;

-- Ends messages of a claim that are not given to a worker (any more): each channel still owed fails. What lost its workers is
-- retried like any failure: it may have stood beside the one at fault, or the workers were stopped from outside.
CREATE FUNCTION _end_messages(claim claims, messages bigint[], error_class text, error text) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  progress claim_progress := _progress(claim.slot, claim.claim_id);
BEGIN
  PERFORM _record(claim, progress, jsonb_agg(jsonb_build_object('delivery_key', m.delivery_key, 'message_id', m.message_id, 'channel', c,
                                                                'outcome', 'failed', 'error_class', error_class, 'error', error)))
  FROM _claim_rows(claim) m CROSS JOIN LATERAL unnest(m.channels) c
  WHERE m.message_id = ANY (messages)
    AND NOT EXISTS (SELECT FROM jsonb_array_elements(progress.partial) p
                    WHERE (p ->> 'message_id')::bigint = m.message_id AND p ->> 'channel' = c);
END
$$;

-- Where each message was reached by the one channel that it owes, and none is a retry: records that without a plan, which takes longer to make
-- ready than to run, and returns how many there were. NULL: nothing was written, the report is of another kind.
CREATE FUNCTION _report_plain(claim_id bigint, worker text, outcomes jsonb) RETURNS integer
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_report_plain_wrapper';

CREATE FUNCTION _report_in_full(claim_id bigint, worker text, outcomes jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE
  SET enable_sort = off SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  held held_claim;
BEGIN
  PERFORM _require_read_committed('report');
  held := _own_claim(claim_id, worker);
  IF (held.progress).ended IS NOT NULL THEN
    RETURN 0;  -- a repetition after a lost acknowledgement
  END IF;
  RETURN _record(held.claim, held.progress, outcomes);
END
$$;

CREATE FUNCTION report(claim_id bigint, worker text, outcomes jsonb) RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pgalert, pg_temp
AS $$
BEGIN
  RETURN coalesce(_report_plain(claim_id, worker, outcomes), _report_in_full(claim_id, worker, outcomes));
END
$$;
COMMENT ON FUNCTION report(bigint, text, jsonb) IS 'Records outcomes of a claim, an array of {"delivery_key", "message_id"?, "channel", "recipient_id"?, "outcome": "delivered"|"failed"|"deferred", "error_class"?, "error"?, "permanent"?, "retry_after_s"?, "host"?, "duration_ms"?}; returns how many messages they finish. All recipients of a channel of a message come in one call; repeating a call records nothing twice. Raises PA001 where the lease is lost, 22023 for an outcome that is not of the claim, and then records nothing. READ COMMITTED only.';
