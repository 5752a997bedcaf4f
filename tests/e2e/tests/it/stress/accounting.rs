//! What producers and consumers know, and whether the tables agree.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        Mutex,
    },
};

use e2e::Session;

/// A channel of an alert.
pub type Part = (String, String);

#[derive(Default)]
pub struct Ledger {
    /// Alerts whose transaction committed, with their channels.
    pub committed: Mutex<HashMap<String, Vec<String>>>,
    /// Deliveries whose report was accepted.
    pub accepted: Mutex<HashMap<Part, usize>>,
    /// Claims in which each attempt of an alert was handed out.
    pub claimed: Mutex<HashMap<(String, i32), usize>>,
    pub first_attempts: AtomicUsize,
    pub producing: AtomicBool,
    pub consuming: AtomicBool,
    pub rotated: AtomicUsize,
    pub rotation_refused: AtomicUsize,
    pub taken_over: AtomicUsize,
    pub leases_lost: AtomicUsize,
    pub claims: AtomicUsize,
    pub claims_aborted: AtomicUsize,
    pub reports_aborted: AtomicUsize,
    pub released: AtomicUsize,
    pub serialization_failures: AtomicUsize,
}

impl Ledger {
    /// Messages that no consumer has had yet.
    pub fn backlog(&self) -> usize {
        let firsts = self.first_attempts.load(Relaxed);
        self.committed.lock().unwrap().len().saturating_sub(firsts)
    }
}

/// Compares the tables with what producers and consumers know.
pub async fn check(ledger: &Ledger, session: &Session) {
    let mut places: HashMap<Part, (i64, i64)> = HashMap::new();
    let delivered = "SELECT d.alert_id, m, count(*) FROM pgalert.alert_deliveries d, jsonb_array_elements_text(d.delivery_methods) m GROUP BY 1, 2";
    for row in session.query(delivered, &[]).await.unwrap() {
        places.entry((row.get(0), row.get(1))).or_default().0 += row.get::<_, i64>(2);
    }
    let owed = "SELECT d.alert_id, c, count(*) FROM pgalert.alert_dlq d, unnest(d.channels) c GROUP BY 1, 2";
    for row in session.query(owed, &[]).await.unwrap() {
        places.entry((row.get(0), row.get(1))).or_default().1 += row.get::<_, i64>(2);
    }
    let committed = ledger.committed.lock().unwrap().clone();
    let accepted = ledger.accepted.lock().unwrap().clone();
    let mut faults = Vec::new();
    for (alert, channels) in committed.iter() {
        for channel in channels {
            let part = (alert.clone(), channel.clone());
            match places.remove(&part) {
                Some((1, 0) | (0, 1)) => {}
                None => faults.push(format!("lost: {part:?}")),
                Some((delivered, owed)) => faults.push(format!(
                    "{part:?} is delivered {delivered} times and in {owed} dead letters"
                )),
            }
        }
    }
    faults.extend(places.keys().map(|part| format!("never committed, yet there: {part:?}")));
    for row in session.query(delivered, &[]).await.unwrap() {
        let part: Part = (row.get(0), row.get(1));
        let reports = accepted.get(&part).copied().unwrap_or(0);
        if part.1 != "inapp" && reports != 1 {
            faults.push(format!(
                "{part:?} is recorded as delivered, and {reports} reports of it were accepted"
            ));
        }
    }
    let recorded: i64 = session
        .query_one("SELECT count(*) FROM pgalert.alert_deliveries, jsonb_array_elements_text(delivery_methods) m WHERE m <> 'inapp'", &[])
        .await
        .unwrap()
        .get(0);
    if recorded != accepted.len() as i64 {
        faults.push(format!(
            "{} accepted reports of a delivery, {recorded} recorded",
            accepted.len()
        ));
    }
    let keys = "SELECT alert_id, count(DISTINCT delivery_key) FROM
                  (SELECT alert_id, delivery_key FROM pgalert.alert_deliveries UNION ALL SELECT alert_id, delivery_key FROM pgalert.alert_dlq) k
                GROUP BY 1 HAVING count(DISTINCT delivery_key) > 1";
    for row in session.query(keys, &[]).await.unwrap() {
        faults.push(format!(
            "{} has {} delivery keys",
            row.get::<_, &str>(0),
            row.get::<_, i64>(1)
        ));
    }
    assert!(
        faults.is_empty(),
        "{} faults among {} messages, the first ones:\n{}",
        faults.len(),
        committed.len(),
        faults[..faults.len().min(20)].join("\n")
    );
}
