//! The `pgalert` extension. What decides without reading a table is Rust, one subject a module, free of pgrx but for
//! `api`, `arrays`, `internal`, `fire`, `fire_many`, `many_in_full`, `claim`, `claimed`, `cursor_snapshot`, `report`, `told`, `delivery_trigger` and
//! `wake` (the SQL functions), `columns`, `dedup`, `deliveries`, `held`, `hold`, `inbox`, `index`, `insert`, `installed`, `jsonb`, `leases`,
//! `new_jsonb`, `outbox`, `owner`, `queue`, `recipients`, `row`, `rows`, `sequence`, `statement`, `stored`, `subtransaction`, `text`, `unset`,
//! `window`, `xid8` and the mapping of `error`. What reads or writes tables is `sql/`, but for the rows that each firing writes, each claim
//! reads and writes, and each plain report writes.

mod admission;
mod alert;
mod api;
mod arrays;
mod backoff;
mod channels;
mod claim;
mod claim_end;
mod claimed;
mod columns;
mod cursor_snapshot;
mod day;
mod dedup;
mod deliveries;
mod delivery_counts;
mod delivery_trigger;
#[cfg(test)]
mod encoded;
mod error;
mod fire;
mod fire_many;
mod hash;
mod held;
mod hold;
mod inbox;
mod index;
mod insert;
mod installed;
mod internal;
mod json;
mod jsonb;
mod keys;
mod leases;
mod many_in_full;
mod members;
mod new_jsonb;
mod number;
mod outbox;
mod outcomes;
mod owner;
mod policy;
mod queue;
mod reached;
mod recipients;
mod report;
mod row;
mod rows;
mod sequence;
mod snapshot;
mod statement;
mod stored;
mod subtransaction;
mod text;
mod told;
mod trace;
mod unset;
mod value;
mod wake;
mod window;
mod xid8;

use pgrx::extension_sql_file;

pgrx::pg_module_magic!(name = c"pgalert", version = c"0.1.0");

// The install script, in this order: roles, then the functions of `api`, then each file after the one before it.
extension_sql_file!("../../sql/00_roles.sql", name = "roles", bootstrap);
extension_sql_file!(
    "../../sql/10_tables.sql",
    name = "tables",
    requires = [
        "roles",
        api::compute_content_hash,
        api::compute_alert_hash,
        api::normalize_channels,
        api::normalize_channel_columns,
        api::retry_delay,
        api::next_retry_at,
        internal::_dedup_key,
        internal::_message_key,
        internal::_enabled_channels,
        internal::_builtin_channels,
        internal::_builtin_policies,
        internal::_database_oid,
        internal::_now_ms,
        internal::_content_key,
        internal::_day_keys,
        many_in_full::_day_keys_of_many,
        many_in_full::_read_firings,
        many_in_full::_sorted,
        told::_told,
        internal::_window_ranges,
    ]
);
extension_sql_file!("../../sql/11_counters.sql", name = "counters", requires = ["tables"]);
extension_sql_file!("../../sql/12_segments.sql", name = "segments", requires = ["counters"]);
extension_sql_file!("../../sql/20_settings.sql", name = "settings", requires = ["segments"]);
extension_sql_file!("../../sql/21_recipients.sql", name = "recipients", requires = ["settings"]);
extension_sql_file!("../../sql/30_dedup.sql", name = "dedup", requires = ["recipients"]);
extension_sql_file!("../../sql/31_deliver.sql", name = "deliver", requires = ["dedup"]);
extension_sql_file!("../../sql/32_deliver_bulk.sql", name = "deliver_bulk", requires = ["deliver"]);
extension_sql_file!("../../sql/33_wake.sql", name = "wake", requires = ["deliver_bulk"]);
extension_sql_file!("../../sql/40_window.sql", name = "window", requires = ["wake"]);
extension_sql_file!("../../sql/41_claim.sql", name = "claim", requires = ["window"]);
extension_sql_file!("../../sql/42_report.sql", name = "report", requires = ["claim"]);
extension_sql_file!("../../sql/43_rotate.sql", name = "rotate", requires = ["report"]);
extension_sql_file!("../../sql/44_breakers.sql", name = "breakers", requires = ["rotate"]);
extension_sql_file!("../../sql/49_added_up.sql", name = "added_up", requires = ["breakers"]);
extension_sql_file!(
    "../../sql/50_dead_letters.sql",
    name = "dead_letters",
    requires = ["added_up"]
);
extension_sql_file!(
    "../../sql/51_letter_filter.sql",
    name = "letter_filter",
    requires = ["dead_letters"]
);
extension_sql_file!("../../sql/52_by_hand.sql", name = "by_hand", requires = ["letter_filter"]);
extension_sql_file!(
    "../../sql/53_gradual_retry.sql",
    name = "gradual_retry",
    requires = ["by_hand"]
);
extension_sql_file!(
    "../../sql/54_import_letters.sql",
    name = "import_letters",
    requires = ["gradual_retry"]
);
extension_sql_file!("../../sql/60_inbox.sql", name = "inbox", requires = ["import_letters"]);
extension_sql_file!("../../sql/70_cluster.sql", name = "cluster", requires = ["inbox"]);
extension_sql_file!("../../sql/71_maintain.sql", name = "maintain", requires = ["cluster"]);
extension_sql_file!("../../sql/72_stats.sql", name = "stats", requires = ["maintain"]);
extension_sql_file!("../../sql/80_views.sql", name = "views", requires = ["stats"]);
extension_sql_file!("../../sql/81_desk.sql", name = "desk", requires = ["views"]);
extension_sql_file!("../../sql/82_metrics.sql", name = "metrics", requires = ["desk"]);
extension_sql_file!("../../sql/83_deliveries.sql", name = "deliveries", requires = ["metrics"]);
extension_sql_file!("../../sql/84_actions.sql", name = "actions", requires = ["deliveries"]);
extension_sql_file!("../../sql/90_grants.sql", name = "grants", finalize);
