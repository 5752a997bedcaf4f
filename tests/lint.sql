-- What plpgsql_check has to say of each PL/pgSQL function of the extension, one finding a line.
SET search_path = pgalert, public;

SELECT format('%s: %s: %s', p.oid::regprocedure, c.level, c.message)
FROM pg_depend d
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
LEFT JOIN pg_trigger t ON t.tgfoid = p.oid
CROSS JOIN LATERAL plpgsql_check_function_tb(p.oid, coalesce(t.tgrelid, 0), extra_warnings => true, performance_warnings => false) AS c
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgalert')
ORDER BY 1;
