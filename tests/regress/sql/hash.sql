-- The content hash.
--   1. It equals the MD5 of Python's json.dumps(data, sort_keys=True), for every vector.
--   2. Order and spacing of keys do not count.
--   3. An alert's identity is the hash of its condition, message and user; NULL counts as JSON null.
--   4. What cannot be hashed is an error, not a wrong hash.
--   5. A double in the middle of its two shortest forms is written as Python writes it: with an even last digit.
SET search_path = pgalert, public;
\getenv srcdir PG_ABS_SRCDIR
\i :srcdir/include/errors.sql

-- 1
\set vectors_file :srcdir '/../vectors/content_hash.jsonl'
\set vectors `cat :'vectors_file'`
CREATE TEMP TABLE vectors AS
  SELECT ordinal, (line::json -> 'alert_data')::jsonb AS alert_data, line::json ->> 'content_hash' AS content_hash
  FROM regexp_split_to_table(:'vectors', E'\n') WITH ORDINALITY AS lines(line, ordinal);
SELECT count(*) FROM vectors;
SELECT * FROM vectors WHERE content_hash IS DISTINCT FROM compute_content_hash(alert_data) ORDER BY ordinal;
SELECT * FROM vectors
WHERE (SELECT array_agg(key ORDER BY key COLLATE "C") FROM jsonb_object_keys(alert_data) AS key) = '{condition,message,user_id}'
  AND content_hash IS DISTINCT FROM compute_content_hash(alert_data -> 'condition', alert_data ->> 'message', alert_data ->> 'user_id')
ORDER BY ordinal;

-- 2
SELECT compute_content_hash('{"b": [1, {"y": 1, "x": 2}], "a": null}') = compute_content_hash('{ "a":null,"b":[1,{"x":2 ,"y":1}] }') AS same;
SELECT compute_content_hash('{"a": [1, 2]}') = compute_content_hash('{"a": [2, 1]}') AS same_though_elements_moved;

-- 3
SELECT compute_content_hash('{"a": 1}', 'm', 'u') = compute_content_hash('{"condition": {"a": 1}, "message": "m", "user_id": "u"}') AS same;
SELECT compute_content_hash(NULL, NULL, NULL) = compute_content_hash('{"condition": null, "message": null, "user_id": null}') AS same;
SELECT compute_content_hash('null', 'null', NULL) = compute_content_hash(NULL, NULL, NULL) AS same_though_text_is_not_null;
SELECT compute_content_hash(NULL) IS NULL AS null_in_null_out;

-- 4
SELECT compute_content_hash((repeat('[', 128) || repeat(']', 128))::jsonb) IS NOT NULL AS deepest;
\pset format unaligned
\pset tuples_only on
SELECT pg_temp.error_of($$SELECT pgalert.compute_content_hash((repeat('[', 129) || repeat(']', 129))::jsonb)$$);
SELECT pg_temp.error_of($$SELECT pgalert.compute_content_hash((repeat('{"a":', 128) || '1' || repeat('}', 128))::jsonb, 'm', 'u')$$);
\pset format aligned
\pset tuples_only off

-- 5
SELECT number, compute_content_hash(number::jsonb) = of_python AS same
FROM (VALUES
  (1, '674191580956179.25', '8738a29ef0573ecfc2cac43e335cdaf9'),
  (2, '-562949953421313.75', '53dfc073a3cf75e8f5ce55095327ccf3'),
  (3, '0.000000029802322387695312', '6481621496c5de08e17f65c83e464604'),
  (4, '9007199254740992.5', '0fd037425a12270729a74caef5073809'),
  (5, '5.684341886080801486968994140625e-14', '7e83400bb6efd30b92d94c39ff5799af')) AS numbers (n, number, of_python) ORDER BY n;
