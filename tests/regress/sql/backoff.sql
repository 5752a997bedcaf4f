-- When an alert is tried again.
--   1. Each retry has its delay in the schedule; none when the schedule is used up.
--   2. Months and days are added by the calendar in UTC, whatever the session's time zone.
--   3. Overflow is an error, not a wrap; so are negative counts and bad schedules.
SET search_path = pgalert, public;
SET intervalstyle = postgres;
SET datestyle = ISO;
SET timezone = 'UTC';
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/errors.sql
\pset null NULL

-- 1
SELECT retry_count, retry_delay(retry_count, schedule), next_retry_at(retry_count, '2024-01-31 10:00+00', schedule)
FROM generate_series(0, 6) AS retry_count,
  (VALUES ('{5 minutes,30 minutes,2 hours,12 hours,24 hours}'::interval[])) AS schedules(schedule);
SELECT retry_delay(0, '{}'), retry_delay(2147483647, '{1 hour}'), retry_delay(NULL, '{1 hour}'), retry_delay(0, NULL);
SELECT retry_delay(0, '{0}'), next_retry_at(0, '2024-01-31 10:00+00', '{00:00:00.000001}');

-- 2
SELECT next_retry_at(0, '2024-01-31 10:00+00', '{1 month 1 day 1 hour}');
SET timezone = 'Europe/Berlin';
SELECT next_retry_at(0, '2024-03-30 12:00+01', '{1 day}');
SET timezone = 'UTC';
SELECT next_retry_at(0, '4713-01-01 BC', '{1 day}'), next_retry_at(0, '200000-01-01', '{1 day}');

-- 3
\pset format unaligned
\pset tuples_only on
SELECT call, pg_temp.error_of('SELECT pgalert.' || call)
FROM (VALUES
  ($$retry_delay(-1, '{1 hour}')$$),
  ($$retry_delay(0, '{1 hour,NULL}')$$),
  ($$retry_delay(0, '{1 hour,-1 minute}')$$),
  ($$retry_delay(0, '{1 month -1 day}')$$),
  ($$next_retry_at(-1, now(), '{1 hour}')$$),
  ($$next_retry_at(0, 'infinity', '{1 hour}')$$),
  ($$next_retry_at(0, '-infinity', '{1 hour}')$$),
  ($$next_retry_at(0, '2024-01-01', '{170000000 years}')$$),
  ($$next_retry_at(0, '2024-01-01', '{2147483647 days}')$$),
  ($$next_retry_at(0, '2024-01-01', '{2562047788 hours}')$$),
  ($$next_retry_at(0, '2024-01-01', '{270000 years}')$$)) AS calls(call);
