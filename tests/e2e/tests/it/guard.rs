//! Users choose the URLs of recipients: none leads to this machine or its network, unless an operator allows it.

use std::process::Command;

use e2e::{
    driver::{once, pgalert, run},
    rude::{Manner, Rude, OK},
    webhook::Answer,
    Cluster, Database, Webhook,
};

use crate::common::{add_recipient, fire, texts};

/// `pgalert test` of a webhook as it is by default, but for http.
fn guarded(url: &str) -> Command {
    let nowhere = Database { folder: "/nonexistent".into(), port: 1, name: "none".into() };
    let mut command = pgalert("test", &nowhere);
    command.args(["--channel", "webhook", "--to", url]).env_remove("PGALERT_HTTP_ALLOW_ADDRESSES");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_or_an_address_of_this_machine_is_not_called_unless_it_is_allowed() {
    let server = Rude::start(Manner::Says(OK.into())).await;
    let port = server.address.port();
    for host in
        ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "0.0.0.0", "[::ffff:127.0.0.1]", "[::]"]
    {
        let ended = run(&mut guarded(&format!("http://{host}:{port}/hook"))).await;
        assert_eq!(ended.code, Some(1), "{host}: {ended:?}");
        assert!(ended.stderr.contains("(Permanent, blocked_address)"), "{host}: {ended:?}");
    }
    assert_eq!(server.connections(), 0, "not even a connection is made");

    let mut accepted = 0;
    for (allowed, host, expected) in [
        ("localhost", "localhost", 0),
        ("127.0.0.0/8", "localhost", 0),
        ("10.0.0.0/8, 127.0.0.1", "127.0.0.1", 0),
        ("localhost", "127.0.0.1", 1),
        ("::1, 127.0.0.2", "127.0.0.1", 1),
    ] {
        let mut command = guarded(&format!("http://{host}:{port}/hook"));
        let ended = run(command.env("PGALERT_HTTP_ALLOW_ADDRESSES", allowed)).await;
        assert_eq!(ended.code, Some(expected), "{allowed}, {host}: {ended:?}");
        accepted += usize::from(expected == 0);
    }
    assert_eq!(server.connections(), accepted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_of_the_environment_is_not_used() {
    let proxy = Rude::start(Manner::Says(OK.into())).await;
    let server = Webhook::start().await;
    let mut command = guarded(&server.url());
    command.env("PGALERT_HTTP_ALLOW_ADDRESSES", "127.0.0.1");
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(name, format!("http://{}", proxy.address));
    }
    let ended = run(&mut command).await;
    assert_eq!((ended.code, server.count(), proxy.connections()), (Some(0), 1, 0), "{ended:?}");
}

/// The operator's own URL leads inside, and a user's to the same server does not: nor over the connection that is there.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_may_call_a_user_may_not() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let server = Webhook::start().await;
    server.answer(|_| Answer::json(200, r#"{"ok": true}"#));
    add_recipient(&session, "ann", "slack", "#ops").await;
    add_recipient(&session, "ann", "webhook", &format!("{}metadata", server.base())).await;
    let mut command = pgalert("once", &database);
    command
        .env_remove("PGALERT_HTTP_ALLOW_ADDRESSES")
        .env("PGALERT_SLACK_API_URL", server.base())
        .env("PGALERT_SLACK_TOKEN", "xoxb-secret");
    fire(&session, "first", &["slack"]).await;
    assert_eq!(once(&mut command).await, "1 delivered, 0 failed, 0 deferred, 0 skipped");
    fire(&session, "both", &["slack", "webhook"]).await;
    assert_eq!(once(&mut command).await, "0 delivered, 1 failed, 0 deferred, 0 skipped");
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/chat.postMessage", "/chat.postMessage"]);
    assert_eq!(
        texts(&session, "SELECT state || ' ' || error_class || ' ' || error_message FROM pgalert.alert_dlq").await,
        ["permanent blocked_address webhook: its address is not a public one; an operator can allow it by http.allow_addresses"]
    );
}
