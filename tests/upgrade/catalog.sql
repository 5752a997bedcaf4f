-- Each member of the extension with what defines it, in an order that does not depend on OIDs.
SELECT o.type, o.identity,
  CASE d.classid
    WHEN 'pg_proc'::regclass THEN (SELECT pg_get_functiondef(p.oid) || coalesce(p.proacl::text, '') FROM pg_proc p WHERE p.oid = d.objid AND p.prokind <> 'a')
    WHEN 'pg_class'::regclass THEN (
      SELECT concat_ws(E'\n', c.relkind, c.relpersistence, c.reloptions::text, c.relacl::text, pg_get_viewdef(CASE WHEN c.relkind = 'v' THEN c.oid END),
        (SELECT string_agg(format('%s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(f.adbin, f.adrelid)), E'\n' ORDER BY a.attnum)
         FROM pg_attribute a LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT string_agg(pg_get_constraintdef(k.oid), E'\n' ORDER BY pg_get_constraintdef(k.oid)) FROM pg_constraint k WHERE k.conrelid = c.oid),
        (SELECT string_agg(pg_get_indexdef(i.indexrelid), E'\n' ORDER BY pg_get_indexdef(i.indexrelid)) FROM pg_index i WHERE i.indrelid = c.oid))
      FROM pg_class c WHERE c.oid = d.objid)
  END,
  obj_description(d.objid, d.classid::regclass::name)
FROM pg_depend d
CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) AS o
WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'pgalert')
ORDER BY o.type, o.identity;
