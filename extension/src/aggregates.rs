//! The aggregates that only `sql/` calls: a step for each row, and a row at the end.

use std::ptr;

use pgrx::datum::{Internal, IntoDatum, TimestampWithTimeZone};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::{pg_extern, pg_sys};

use crate::delivery_counts::{Counts, DeliveryCounts};
use crate::jsonb::Jsonb;
use crate::row::{Row, RowType};
use crate::stored::Stored;

/// The state of an aggregate, made at its first row. It lives as long as the group.
fn state<T: Default>(state: &mut Internal, fcinfo: pg_sys::FunctionCallInfo) -> &mut T {
    if !state.initialized() {
        let mut context = ptr::null_mut();
        // SAFETY: asks of which aggregate this call is a part.
        let group = match unsafe { pg_sys::AggCheckCallContext(fcinfo, &raw mut context) } {
            0 => &mut PgMemoryContexts::CurrentMemoryContext, // of none
            _ => &mut PgMemoryContexts::For(context),
        };
        let made = group.leak_and_drop_on_delete(T::default());
        *state = Internal::from(Some(pg_sys::Datum::from(made)));
    }
    // SAFETY: the state of an aggregate is what its own function has returned before.
    unsafe { state.get_mut() }.unwrap_or_else(|| unreachable!())
}

thread_local! {
    static DELIVERY_COUNTS: RowType<6> = const {
        RowType::new([
            (c"at", pg_sys::TIMESTAMPTZARRAYOID),
            (c"seconds", pg_sys::INT2ARRAYOID),
            (c"methods", pg_sys::TEXTARRAYOID),
            (c"deliveries", pg_sys::INT8ARRAYOID),
            (c"by_retry", pg_sys::INT8ARRAYOID),
            (c"retries", pg_sys::INT8ARRAYOID),
        ])
    };
}

/// Step of the aggregate `_delivery_counts`, declared in `sql/72_stats.sql`.
#[pg_extern(sql = false)]
fn _delivery_counts_add(
    mut counts: Internal,
    accepted_at: TimestampWithTimeZone,
    delivered_at: TimestampWithTimeZone,
    methods: Stored,
    attempt: i32,
    fcinfo: pg_sys::FunctionCallInfo,
) -> Internal {
    state::<DeliveryCounts>(&mut counts, fcinfo).add(
        accepted_at.into_inner(),
        delivered_at.into_inner(),
        methods.bytes,
        // SAFETY: the argument is declared as jsonb.
        || {
            unsafe { methods.read::<Jsonb>() }
                .map_or_else(String::new, |json| json.text().to_owned())
        },
        attempt,
    );
    counts
}

#[pg_extern(sql = false)]
fn _delivery_counts_row(mut counts: Internal, fcinfo: pg_sys::FunctionCallInfo) -> Row {
    let counts = &state::<DeliveryCounts>(&mut counts, fcinfo).0;
    let numbers = |of: fn(&Counts) -> i64| counts.values().map(of).collect::<Vec<_>>();
    let times = counts.keys().map(|kind| TimestampWithTimeZone::try_from(kind.at).ok());
    DELIVERY_COUNTS.with(|row| {
        row.row([
            times.collect::<Vec<_>>().into_datum(),
            counts.keys().map(|kind| kind.seconds).collect::<Vec<_>>().into_datum(),
            counts.values().map(|counts| counts.methods.as_str()).collect::<Vec<_>>().into_datum(),
            numbers(|counts| counts.deliveries).into_datum(),
            numbers(|counts| counts.by_retry).into_datum(),
            numbers(|counts| counts.retries).into_datum(),
        ])
    })
}
