use e2e::{
    driver::{pgalert_at, run, Ended},
    Cluster, Database,
};
use serde_json::Value;

use crate::common::texts;

async fn pgalert(database: &Database, arguments: &[&str]) -> Ended {
    let mut command = pgalert_at(arguments[0], &database.url("postgres"));
    run(command.args(&arguments[1..]).env("PGALERT_LOG_LEVEL", "trace")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_channels_are_added_listed_and_removed() {
    let database = Cluster::shared().database().await;
    assert_eq!(
        pgalert(&database, &["channels", "add", "pagerduty", "--description", "Wakes people"])
            .await
            .stdout,
        "added\n"
    );
    assert_eq!(
        pgalert(&database, &["channels", "add", "pagerduty"]).await.stdout,
        "known already\n"
    );
    let list = pgalert(&database, &["channels", "list"]).await.stdout;
    assert!(
        list.contains("email\tbuilt in\t\n") && list.contains("pagerduty\tadded\tWakes people\n"),
        "{list}"
    );
    let json: Value =
        serde_json::from_str(&pgalert(&database, &["channels", "list", "--json"]).await.stdout)
            .unwrap();
    assert_eq!(json[5]["name"], "pagerduty");
    assert_eq!(pgalert(&database, &["channels", "remove", "pagerduty"]).await.code, Some(0));
    for (arguments, expected) in [
        (["channels", "remove", "pagerduty"], "there is no channel pagerduty"),
        (["channels", "remove", "email"], "channel \"email\" is built in"),
        (["channels", "add", "Pager"], "a channel cannot be named \"Pager\""),
    ] {
        let ended = pgalert(&database, &arguments).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_made_shown_once_and_rotated() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let secrets = "SELECT unnest(secrets) FROM pgalert.recipient_secrets";
    let added = pgalert(
        &database,
        &["recipients", "add", "ann", "webhook", "https://example.com/", "--generate-secret"],
    )
    .await;
    let (id, first) = added.stdout.trim().split_once('\t').expect("id and secret");
    assert_eq!(texts(&session, secrets).await, [first]);
    let rotated = pgalert(&database, &["recipients", "rotate-secret", id]).await;
    let second = rotated.stdout.trim().to_owned();
    assert_ne!(second, first);
    assert_eq!(texts(&session, secrets).await, [&second, first]);
    let list = pgalert(&database, &["recipients", "list"]).await.stdout;
    assert_eq!(
        list,
        format!("{id}\tann\twebhook\thttps://example.com/\tsigned, two secrets valid\n")
    );
    let json = pgalert(&database, &["recipients", "list", "--json"]).await.stdout;
    assert!(json.contains("\"secrets\": 2") && !json.contains("whsec_"), "{json}");
    assert_eq!(pgalert(&database, &["recipients", "drop-old-secret", id]).await.code, Some(0));
    assert_eq!(pgalert(&database, &["recipients", "drop-old-secret", id]).await.code, Some(1));
    assert_eq!(texts(&session, secrets).await, [second.as_str()]);

    let file = Cluster::shared().folder.join("third");
    std::fs::write(&file, "whsec_dGhpcmQgdGhpcmQgdGhpcmQgdGhpcmQgdGhpcmQ=\n").unwrap();
    let rotated = pgalert(
        &database,
        &["recipients", "rotate-secret", id, "--secret-file", file.to_str().unwrap()],
    )
    .await;
    assert_eq!((rotated.code, rotated.stdout.as_str()), (Some(0), ""), "{rotated:?}");
    assert!(!rotated.stderr.contains("whsec_"), "also a log of all there is: {rotated:?}");
    std::fs::write(&file, "hunter2").unwrap();
    let refused = pgalert(
        &database,
        &["recipients", "rotate-secret", id, "--secret-file", file.to_str().unwrap()],
    )
    .await;
    assert!(refused.code == Some(1) && !refused.stderr.contains("hunter2"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_address_says_why_and_is_taken_back() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let id = pgalert(&database, &["recipients", "add", "ann", "webhook", "https://example.com/"])
        .await
        .stdout
        .trim()
        .to_owned();
    session
        .batch_execute(&format!(
            "SET search_path = pgalert; SELECT _disable_recipient({id}, '410 Gone')"
        ))
        .await
        .unwrap();
    let list = pgalert(&database, &["recipients", "list"]).await.stdout;
    assert!(list.ends_with("\tdisabled: 410 Gone\n"), "{list}");
    assert_eq!(pgalert(&database, &["recipients", "enable", &id]).await.code, Some(0));
    let again = pgalert(&database, &["recipients", "enable", &id]).await;
    assert!(again.code == Some(1) && again.stderr.contains("is not disabled"), "{again:?}");
}
