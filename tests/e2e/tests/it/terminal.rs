//! `pgalert dlq` on a real terminal: it asks, and shows how far it is; in a pipe it does neither.

use std::{io::Write, process::Command, process::Stdio};

use e2e::{
    driver::{pgalert_at, run, Ended},
    Cluster, Database,
};

use crate::common::{add_letters, number, texts};

const ALL: [&str; 5] = ["dlq", "retry", "--all", "--state", "exhausted"];
const QUEUED: &str = "SELECT count(*) FROM pgalert.alert_dlq WHERE state = 'queued'";

fn command(database: &Database, arguments: &[&str]) -> Command {
    let mut command = pgalert_at(arguments[0], &database.url("postgres"));
    command.args(&arguments[1..]);
    command
}

/// Runs it on a terminal of its own, with this typed; `stdout` is what the screen has shown.
async fn on_terminal(database: &Database, arguments: &[&str], typed: &'static str) -> Ended {
    let command = command(database, arguments);
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut terminal = Command::new("script");
    terminal
        .args(["--quiet", "--return", "--command", &line.join(" "), "/dev/null"])
        .env_clear()
        .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut terminal = terminal.spawn().unwrap();
    terminal.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = tokio::task::spawn_blocking(|| terminal.wait_with_output().unwrap());
    let output = output.await.unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    Ended { code: output.status.code(), stdout, stderr: String::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_it_asks_and_shows_how_far_it_is() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_letters(&session, 3501).await;
    for refusal in ["n\n", "\n", "no\n", "\u{4}"] {
        let ended = on_terminal(&database, &ALL, refusal).await;
        assert_eq!(ended.code, Some(1), "{refusal:?}: {ended:?}");
        let asked = "3500 dead letters will be retried. Go on? [y/N]";
        assert!(ended.stdout.contains(asked), "{refusal:?}: {ended:?}");
        assert!(ended.stdout.contains("nothing was retried"), "{refusal:?}: {ended:?}");
        assert!(!ended.stdout.contains("left"), "{refusal:?}: {ended:?}");
    }
    assert_eq!(number(&session, QUEUED).await, 0);
    assert_eq!(number(&session, "SELECT count(*) FROM pgalert.operator_log").await, 0);

    let ended = on_terminal(&database, &ALL, "y\n").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("Go on? [y/N]"), "{ended:?}");
    assert!(ended.stdout.contains("1,000 of 3,500, "), "how far it is: {ended:?}");
    assert!(ended.stdout.trim_end().ends_with("3500 queued"), "{ended:?}");
    assert_eq!(number(&session, QUEUED).await, 3500);
    // Each in a transaction of its own.
    let batches = "SELECT letters::text FROM (SELECT DISTINCT ON (xmin::text) letters, id FROM pgalert.operator_log) l ORDER BY id";
    assert_eq!(texts(&session, batches).await, ["1000", "1000", "1000", "500"]);

    // What was asked for by --yes is not asked.
    session.execute("UPDATE pgalert.alert_dlq SET state = 'exhausted'", &[]).await.unwrap();
    let discard = ["dlq", "discard", "--all", "--yes", "--reason", "old"];
    let ended = on_terminal(&database, &discard, "").await;
    assert!(!ended.stdout.contains("Go on?"), "{ended:?}");
    assert!(ended.stdout.trim_end().ends_with("3501 discarded"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_pipe_it_neither_asks_nor_draws() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    add_letters(&session, 1201).await;
    let ended = run(&mut command(&database, &ALL)).await;
    assert_eq!(
        (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
        (Some(0), "1200 queued\n", "")
    );
    assert_eq!(number(&session, QUEUED).await, 1200);
}
