-- Breakers as drivers tell of them: each worker has its own rows, and what nobody tells of any more is forgotten.
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/begin.sql
SELECT report_breakers('w1', '[{"channel": "webhook", "host": "a.example", "pause_s": 30}, {"channel": "webhook", "host": "b.example", "pause_s": 0}]');
SELECT report_breakers('w2', '[{"channel": "email", "host": "a.example", "pause_s": 30.5}]');
SELECT channel, host, state, worker, open_until <= clock_timestamp() + interval '31 seconds' AS soon FROM open_breakers();
-- The same again writes nothing; a longer pause does; one that is not named is closed.
SELECT count(xmin) AS rows, max(xmin::text::bigint) AS newest FROM breakers \gset
SELECT report_breakers('w1', '[{"channel": "webhook", "host": "a.example", "pause_s": 29}, {"channel": "webhook", "host": "b.example", "pause_s": 0}]');
SELECT max(xmin::text::bigint) = :newest AS nothing_written FROM breakers;
SELECT report_breakers('w1', '[{"channel": "webhook", "host": "a.example", "pause_s": 300}]');
SELECT channel, host, worker, open_until > clock_timestamp() + interval '4 minutes' AS longer FROM open_breakers();
SELECT report_breakers('w1', '[]');
SELECT channel, host, worker FROM open_breakers();
-- An hour after it was to be tried
UPDATE breakers SET open_until = clock_timestamp() - interval '59 minutes';
SELECT maintain() IS NOT NULL AS maintained, (SELECT count(*) FROM breakers) AS before;
SELECT state FROM open_breakers();
UPDATE breakers SET open_until = clock_timestamp() - interval '61 minutes';
SELECT maintain() IS NOT NULL AS maintained;
SELECT count(*) FROM breakers;
