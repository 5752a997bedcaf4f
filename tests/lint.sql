-- What plpgsql_check has to say of each PL/pgSQL function of the extension, one finding a line.
SET search_path = pgalert, public;

SELECT format('%s: %s: %s', p.oid::regprocedure, c.level, c.message)
FROM pg_depend d
JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
JOIN pg_language l ON l.oid = p.prolang AND l.lanname = 'plpgsql'
-- Of several triggers of a function the one that gives it most.
LEFT JOIN LATERAL (SELECT t.* FROM pg_trigger t WHERE t.tgfoid = p.oid ORDER BY num_nonnulls(t.tgoldtable, t.tgnewtable) DESC, t.oid LIMIT 1) AS t ON true
CROSS JOIN LATERAL plpgsql_check_function_tb(p.oid, coalesce(t.tgrelid, 0), extra_warnings => true, performance_warnings => false,
                                             oldtable => t.tgoldtable, newtable => t.tgnewtable) AS c
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgalert')
  -- It does not see that RETURN QUERY EXECUTE gives the rows.
  AND NOT (p.prosrc LIKE '%RETURN QUERY EXECUTE%' AND c.message LIKE 'OUT variable % is maybe unmodified')
ORDER BY 1;
