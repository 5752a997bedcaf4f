\set ECHO none
-- How a file of tests begins that looks at the queue: the errors of a command, a driver in SQL, and how values are shown.
\i :srcdir/include/errors.sql
\set ECHO none
\i :srcdir/include/driver.sql
SET search_path = pgalert, public;
SET intervalstyle = postgres;
\pset null NULL
\set ECHO all
