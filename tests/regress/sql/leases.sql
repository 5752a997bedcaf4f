-- Leases: who holds what, and what becomes of it when a worker is lost.
--    1. A lease can be extended, never shortened, and only by its worker; released messages go to the next claim at once.
--    2. A lease that ran out is taken over under a new claim, without what was reported, with only the channels owed.
--    3. The worker that lost it is told so (PA001) and records nothing; one that is late, but was not taken over, is heard.
--    4. A take-over never becomes the lane's cursor: nothing is claimed again.
--    5. A claim that ran out three times is split, down to the message that takes its worker down; that one becomes a dead
--       letter, lease_lost, with the channels still owed. Giving back does not count.
--    6. Leases are searched once a second, and no claim before the low-water mark; an end that is rolled back does not
--       raise it.
--    7. A take-over respects max_messages: the rest can be claimed at once.
--    8. Messages that have expired become dead letters when they are claimed; a claim of nothing else goes on.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
INSERT INTO policies (name, daily_limit, dedup_window) VALUES ('plain', NULL, '0');
CREATE FUNCTION pg_temp.fire(alert text, channels jsonb DEFAULT '["email"]', more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
  SELECT pgalert.deliver_alert(jsonb_build_object('id', alert, 'channels', channels, 'priority', 'plain') || more, 'u1', 'about ' || alert)
$$;
CREATE FUNCTION pg_temp.last_claim() RETURNS bigint LANGUAGE sql AS 'SELECT claim_id FROM claimed ORDER BY n DESC LIMIT 1';
CREATE VIEW open AS
SELECT worker, messages_left, takeovers, CASE lease_until WHEN '-infinity' THEN 'given back' ELSE CASE WHEN lease_until < clock_timestamp() THEN 'ran out' ELSE 'in work' END END AS lease
FROM open_claims() ORDER BY claim_id;

-- 1
SELECT count(pg_temp.fire('a' || n)) FROM generate_series(1, 3) n;
SELECT count(*) FROM claim_batch('w1', 10, '1 minute') \gset a_
SELECT claim_id AS a FROM open_claims() \gset
SELECT extend_lease(:a, 'w1', '5 minutes') BETWEEN clock_timestamp() + interval '4 minutes' AND clock_timestamp() + interval '6 minutes' AS longer,
       extend_lease(:a, 'w1', '1 second') > clock_timestamp() + interval '4 minutes' AS not_shorter;
SELECT left(pg_temp.error_of(format('SELECT pgalert.extend_lease(%s, %L, %L)', :a, 'w2', '1 day')), 5) AS extended_by_another,
       left(pg_temp.error_of(format('SELECT pgalert.release_claim(%s, %L)', :a, 'w2')), 5) AS released_by_another;
SELECT worker, messages_left, takeovers, lane FROM open_claims();
SELECT release_claim(:a, 'w1');
SELECT * FROM open;
SELECT pg_temp.claim(10, 'w2');
SELECT * FROM open;
SELECT left(pg_temp.error_of(format('SELECT pgalert.extend_lease(%s, %L, %L)', :a, 'w1', '1 day')), 5) AS extended_after,
       left(pg_temp.error_of(format('SELECT pgalert.release_claim(%s, %L)', :a, 'w1')), 5) AS released_after;
SELECT pg_temp.answer('a1', '{"email": "delivered"}'), pg_temp.answer('a2', '{"email": "delivered"}');
SELECT release_claim(pg_temp.last_claim(), 'w2') AS what_is_left;
SELECT pg_temp.claim(10, 'w3');
SELECT pg_temp.answer('a3', '{"email": "delivered"}');
SELECT release_claim(pg_temp.last_claim(), 'w3') AS after_the_end;
SELECT * FROM open;

-- 2, 3
SELECT pg_temp.fire('b1', '["email", "slack"]'), pg_temp.fire('b2', '["email", "slack"]'), pg_temp.fire('b3', '["email", "slack"]');
SELECT pg_temp.claim();
SELECT pg_temp.last_claim() AS b \gset
SELECT pg_temp.answer('b1', '{"email": "delivered", "slack": "delivered"}'), pg_temp.answer('b2', '{"slack": "delivered"}');
SELECT pg_temp.outcomes('b2', '{"email": "delivered"}') AS late \gset
SELECT pg_temp.expire_leases();
SELECT report(:b, 'w1', '[]') AS late_but_heard;
SELECT pg_temp.claim(10, 'w2');
SELECT takeover_of = :b AS of_the_first, takeovers, messages FROM claims WHERE claim_id = pg_temp.last_claim();
SELECT pg_temp.error_of(format('SELECT pgalert.report(%s, %L, %L)', :b, 'w1', :'late')) ~ '^PA001: the lease of claim \d+ is lost' AS lost;
SELECT * FROM pg_temp.reached('b2');
SELECT report(pg_temp.last_claim(), 'w2', pg_temp.outcomes('b1', '{"email": "failed"}')) AS finished_under_the_first;
SELECT pg_temp.answer('b2', '{"email": "delivered"}'), pg_temp.answer('b3', '{"email": "delivered", "slack": "delivered"}');
SELECT a AS alert, r.* FROM unnest('{b1,b2,b3}'::text[]) a, pg_temp.reached(a) r;
SELECT * FROM open;

-- 4
SELECT count(pg_temp.fire('c' || n)) FROM generate_series(1, 4) n;
SELECT pg_temp.claim(2);
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim(2, 'w2') AS taken_over;
SELECT pg_temp.claim(2) AS goes_on;
SELECT pg_temp.fire('c5');
SELECT pg_temp.claim();
SELECT pg_temp.claim();
SELECT count(pg_temp.answer('c' || n, '{"email": "delivered"}')) FROM generate_series(1, 5) n;
SELECT * FROM open;

-- 5: the worker that gets d3 is lost each time.
SELECT count(pg_temp.fire('d' || n, '["email", "slack"]')) FROM generate_series(1, 4) n;
SELECT pg_temp.claim();
SELECT pg_temp.answer('d3', '{"slack": "delivered"}');
SELECT release_claim(pg_temp.last_claim(), 'w1') AS does_not_count;
SELECT pg_temp.claim();
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS first_takeover;
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS second_takeover;
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS third_takeover;
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS first_half;
SELECT * FROM open;
SELECT pg_temp.claim(10, 'w2') AS second_half;
SELECT pg_temp.answer('d1', '{"email": "delivered", "slack": "delivered"}'), pg_temp.answer('d2', '{"email": "delivered", "slack": "delivered"}');
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS half_of_the_half;
SELECT pg_temp.claim(10, 'w2') AS the_other;
SELECT pg_temp.answer('d4', '{"email": "delivered", "slack": "delivered"}');
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS nothing_any_more;
SELECT a AS alert, d.* FROM unnest('{d1,d2,d3,d4}'::text[]) a, pg_temp.dead_letters(a) d;
SELECT a AS alert, r.* FROM unnest('{d1,d2,d3,d4}'::text[]) a, pg_temp.reached(a) r;
SELECT * FROM open;

-- 6
SELECT pg_temp.fire('e1');
SELECT pg_temp.claim();
SELECT pg_temp.last_claim() AS e \gset
SELECT pg_temp.fire('e2');
SELECT pg_temp.claim(10, 'w2');
SELECT pg_temp.answer('e2', '{"email": "delivered"}') AS a_later_claim_ends;
UPDATE claims SET lease_until = clock_timestamp() - interval '1 second' WHERE claim_id = :e;
SELECT setval('leases_searched_at', _now_ms()) > 0 AS searched, pg_temp.claim(10, 'w2') AS not_again_so_soon;
BEGIN;
SELECT pg_temp.answer('e1', '{"email": "delivered"}');
SELECT setval('leases_searched_at', 1);
SELECT pg_temp.claim(10, 'w2') AS ended_here;
ROLLBACK;
SELECT last_value <= :e AS not_raised FROM lease_low_water;
SELECT setval('leases_searched_at', 1);
SELECT pg_temp.claim(10, 'w2');
SELECT pg_temp.answer('e1', '{"email": "delivered"}');
SELECT setval('leases_searched_at', 1);
SELECT pg_temp.claim();
SELECT last_value >= pg_temp.last_claim() AS raised FROM lease_low_water;

-- 7
SELECT count(pg_temp.fire('f' || n)) FROM generate_series(1, 5) n;
SELECT pg_temp.claim();
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim(2, 'w2');
SELECT * FROM open;
SELECT pg_temp.claim(2, 'w3') AS at_once;
SELECT pg_temp.claim(2, 'w4') AS at_once;
SELECT pg_temp.claim(2, 'w5') AS nothing_left;
SELECT count(pg_temp.answer('f' || n, '{"email": "delivered"}')) FROM generate_series(1, 5) n;
SELECT * FROM open;

-- 8
SELECT pg_temp.fire('g' || n, '["email", "slack"]', jsonb_build_object('expires_at', clock_timestamp() + interval '1 hour')) FROM generate_series(1, 2) n;
SELECT pg_temp.claim(1);
SELECT pg_temp.answer('g1', '{"email": "delivered"}') AS in_part;
UPDATE outbox SET expires_at = clock_timestamp() WHERE alert_id IN ('g1', 'g2');
UPDATE claims SET expires_at = clock_timestamp() WHERE claim_id = pg_temp.last_claim();
SELECT pg_temp.fire('g3', '["email", "slack"]');
SELECT pg_temp.claim(1) AS past_the_expired_one;
SELECT pg_temp.expire_leases();
SELECT pg_temp.claim() AS taken_over_without_the_expired_one;
SELECT pg_temp.claim();
SELECT pg_temp.answer('g3', '{"email": "delivered", "slack": "delivered"}');
SELECT a AS alert, r.* FROM unnest('{g1,g2,g3}'::text[]) a, pg_temp.reached(a) r;
SELECT a AS alert, d.* FROM unnest('{g1,g2,g3}'::text[]) a, pg_temp.dead_letters(a) d;
SELECT * FROM open;
