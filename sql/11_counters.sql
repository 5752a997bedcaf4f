-- What happens here is counted in sequences: no hot row, no dead row, and one scrape sees what all sessions did. A call that is
-- rolled back counts, and a crash may add up to 32 to each.

CREATE SEQUENCE count_queued;
CREATE SEQUENCE count_queued_tens;
CREATE SEQUENCE count_queued_hundreds;
CREATE SEQUENCE count_delivered;
CREATE SEQUENCE count_duplicate;
CREATE SEQUENCE count_capped;
CREATE SEQUENCE count_no_channels;
CREATE SEQUENCE count_expired;
CREATE SEQUENCE count_sent;
CREATE SEQUENCE count_sent_tens;
CREATE SEQUENCE count_sent_hundreds;
CREATE SEQUENCE count_failed;
CREATE SEQUENCE count_deferred;
CREATE SEQUENCE count_retries_delivered;
CREATE SEQUENCE count_retries_failed;
CREATE SEQUENCE count_exhausted;
COMMENT ON SEQUENCE count_queued IS 'Alerts of which a message was queued; of a call of many, tens and hundreds are counted in the next two. This and the next five kinds: what deliver_alert() answered.';
COMMENT ON SEQUENCE count_delivered IS 'Alerts delivered at once: in-app only.';
COMMENT ON SEQUENCE count_duplicate IS 'Alerts refused since their content was sent already.';
COMMENT ON SEQUENCE count_capped IS 'Alerts refused since the user''s day is full.';
COMMENT ON SEQUENCE count_no_channels IS 'Alerts that named no channel.';
COMMENT ON SEQUENCE count_expired IS 'Alerts that had expired when they were fired.';
COMMENT ON SEQUENCE count_sent IS 'Deliveries beside those of count_delivered: reported by a driver, or by track_delivery(). Of a report of many, tens and hundreds are counted in the next two.';
COMMENT ON SEQUENCE count_failed IS 'Outcomes of failed sends.';
COMMENT ON SEQUENCE count_deferred IS 'Outcomes of deferred sends.';
COMMENT ON SEQUENCE count_retries_delivered IS 'Retries after which nothing was owed any more.';
COMMENT ON SEQUENCE count_retries_failed IS 'Retries that failed, and so cost one of the schedule.';
COMMENT ON SEQUENCE count_exhausted IS 'Dead letters whose schedule was used up.';

-- The sequence of a count: nextval(_counter('queued')). Inlined, and a constant where the name is one.
CREATE FUNCTION _counter(what text) RETURNS regclass
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE what
    WHEN 'queued' THEN 'pgalert.count_queued'::regclass
    WHEN 'delivered' THEN 'pgalert.count_delivered'::regclass
    WHEN 'duplicate' THEN 'pgalert.count_duplicate'::regclass
    WHEN 'capped' THEN 'pgalert.count_capped'::regclass
    WHEN 'no_channels' THEN 'pgalert.count_no_channels'::regclass
    WHEN 'expired' THEN 'pgalert.count_expired'::regclass
    WHEN 'sent' THEN 'pgalert.count_sent'::regclass
    WHEN 'failed' THEN 'pgalert.count_failed'::regclass
    WHEN 'deferred' THEN 'pgalert.count_deferred'::regclass
    WHEN 'retries_delivered' THEN 'pgalert.count_retries_delivered'::regclass
    WHEN 'retries_failed' THEN 'pgalert.count_retries_failed'::regclass
    WHEN 'exhausted' THEN 'pgalert.count_exhausted'::regclass
  END
$$;

-- Counts many deliveries in a few calls of the sequences of hundreds, tens and ones; returns how many.
CREATE FUNCTION _count_by(hundreds regclass, tens regclass, ones regclass, deliveries bigint) RETURNS bigint
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', '_count_by_wrapper';
CREATE FUNCTION _count_sent(deliveries bigint) RETURNS bigint
LANGUAGE sql VOLATILE
AS $$ SELECT _count_by('pgalert.count_sent_hundreds', 'pgalert.count_sent_tens', _counter('sent'), deliveries) $$;

CREATE FUNCTION _count_of(what text) RETURNS bigint
LANGUAGE sql VOLATILE
AS $$
  SELECT coalesce(pg_sequence_last_value(_counter(what)), 0)
         + CASE what WHEN 'sent' THEN coalesce(pg_sequence_last_value('pgalert.count_sent_tens'), 0) * 10
                                      + coalesce(pg_sequence_last_value('pgalert.count_sent_hundreds'), 0) * 100
                     WHEN 'queued' THEN coalesce(pg_sequence_last_value('pgalert.count_queued_tens'), 0) * 10
                                        + coalesce(pg_sequence_last_value('pgalert.count_queued_hundreds'), 0) * 100 ELSE 0 END
$$;
