//! What a command that cannot do its work says, and its exit code.

use std::process::Command;

use e2e::{
    driver::{pgalert, pgalert_at, run},
    tools::free_port,
    Cluster,
};

use crate::common::LIMIT;

async fn refused(command: &mut Command, code: i32, says: &[&str]) {
    let ended = e2e::within("the command ends", LIMIT, run(command)).await;
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "");
    for text in says {
        assert!(ended.stderr.contains(text), "it does not say \"{text}\": {}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_extension_the_driver_says_what_to_do() {
    let database = Cluster::shared().empty_database().await;
    Cluster::shared().database().await; // has made the role courier
    for command in ["run", "once"] {
        refused(&mut pgalert(command, &database), 1, &["CREATE EXTENSION pgalert"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rights_the_driver_says_what_to_do() {
    let database = Cluster::shared().database().await;
    for command in ["run", "once"] {
        let mut command = pgalert_at(command, &database.url("app"));
        refused(&mut command, 1, &["GRANT pgalert_driver TO"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_login_or_database_is_told_at_once() {
    let database = Cluster::shared().database().await;
    for command in ["run", "once"] {
        let mut nobody = pgalert_at(command, &database.url("nobody"));
        refused(&mut nobody, 1, &["refused the login of user \"nobody\""]).await;
        let nowhere = Cluster::shared().named_database("nowhere");
        refused(&mut pgalert(command, &nowhere), 1, &["no database \"nowhere\""]).await;
        let url = database.url("courier") + "&options=-cdefault_transaction_isolation%3Dnone";
        refused(&mut pgalert_at(command, &url), 1, &["Available values: serializable, "]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_fires_by_hand_is_told_what_is_missing() {
    let empty = Cluster::shared().empty_database().await;
    let database = Cluster::shared().database().await;
    let fire = ["--alert", r#"{"id": "a"}"#, "--user", "ann", "--message", "m"];
    refused(pgalert("deliver", &empty).args(fire), 1, &["hint: ", "CREATE EXTENSION pgalert"])
        .await;
    refused(pgalert("recipients", &empty).arg("list"), 1, &["CREATE EXTENSION pgalert"]).await;
    let mut command = pgalert("deliver", &database);
    refused(command.args(fire), 1, &["permission denied", "hint: GRANT pgalert_producer"]).await;
    let mut command = pgalert_at("deliver", &database.url("app"));
    let no_json = ["--alert", "x", "--user", "ann", "--message", "m"];
    refused(command.args(no_json), 1, &["json", "\ndetail: Token \"x\" is invalid."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_as_the_help_says() {
    let database = Cluster::shared().database().await;
    let nobody = format!("postgresql://courier@127.0.0.1:{}/x", free_port());
    refused(&mut pgalert_at("once", &nobody), 1, &["error: "]).await;
    refused(pgalert_at("recipients", &nobody).arg("list"), 1, &["error: "]).await;
    refused(&mut pgalert("nonsense", &database), 2, &["nonsense"]).await;
    refused(pgalert("run", &database).arg("--no-such-flag"), 2, &["--no-such-flag"]).await;
    let mut command = pgalert("run", &database);
    refused(command.env("PGALERT_WORKER_LEASE", "soon"), 64, &["lease"]).await;
    let mut command = pgalert("run", &database);
    refused(command.args(["--config", "/nowhere/pgalert.toml"]), 64, &["/nowhere/pgalert.toml"])
        .await;
    refused(&mut pgalert_at("once", "postgresql://x:y:z"), 64, &["error: "]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[email]\npassword = \"hunter2\nport = 25\n").unwrap();
    let mut command = pgalert("once", &database);
    let ended = run(command.arg("--config").arg(file.path())).await;
    assert_eq!(ended.code, Some(64));
    assert!(ended.stderr.contains("is not TOML: line 2: "), "{}", ended.stderr);
    assert!(!ended.stderr.contains("hunter2"), "what stands in a file is in no error");
    assert_eq!(run(&mut pgalert("once", &database)).await.code, Some(0));
}
