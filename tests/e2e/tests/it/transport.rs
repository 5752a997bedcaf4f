//! HTTP servers that do each bad thing, and what the driver calls it.

use std::{
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use e2e::{
    driver::{once, pgalert, run, Ended},
    mortal::Mortal,
    rude::{Manner, Rude, OK},
    tools::{free_port, Authority},
    webhook::Answer,
    Cluster, Database, Driver, Webhook,
};

use crate::common::{add_recipient, fire, number, texts, until_delivered, LIMIT};

/// `pgalert test` of a webhook, which needs no database.
fn test_command(url: &str) -> Command {
    let nowhere = Database { folder: "/nonexistent".into(), port: 1, name: "none".into() };
    let mut command = pgalert("test", &nowhere);
    command.args(["--channel", "webhook", "--to", url]).env("PGALERT_HTTP_TIMEOUT", "1s");
    command
}

fn assert_refused(ended: &Ended, kind_and_class: &str, what: &str) {
    assert_eq!(ended.code, Some(1), "{what}: {ended:?}");
    assert!(ended.stderr.contains(&format!("({kind_and_class})")), "{what}: {ended:?}");
    assert!(ended.stderr.len() < 700, "{what}: {} bytes are said", ended.stderr.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_well_is_told_by_a_class() {
    use Manner::*;
    for (manner, expected) in [
        (Silent, "Transient, timeout"),
        (
            Trickles(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(500))),
            "Transient, timeout",
        ),
        (Resets, "Transient, connect"),
        (ResetsAfterRequest, "Transient, connect"),
        (Says(String::new()), "Transient, connect"),
        (Says("HTTP/1.1 20".into()), "Transient, connect"),
        (Says("220 mail.example.org ESMTP\r\n".into()), "Transient, bad_answer"),
        (
            Says(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20))),
            "Transient, bad_answer",
        ),
        (Says("HTTP/1.1 500 Oh\r\n\r\n\u{1b}[2Jno \u{7}\n".into()), "Transient, http.5xx"),
        (Says("HTTP/1.1 404 No\r\n\r\n".into()), "Permanent, http.4xx"),
        (Says("HTTP/1.1 410 Gone\r\n\r\n".into()), "Permanent, http.410"),
        (Endless("HTTP/1.1 500 Oh\r\n\r\n"), "Transient, http.5xx"),
        (EndlessChunks("HTTP/1.1 500 Oh\r\n"), "Transient, http.5xx"),
        (EndlessTrickle("HTTP/1.1 400 No\r\n\r\n"), "Permanent, http.4xx"),
    ] {
        let server = Rude::start(manner.clone()).await;
        let ended = run(&mut test_command(&server.url())).await;
        let what = format!("{manner:?}").chars().take(60).collect::<String>();
        assert_refused(&ended, expected, &what);
        assert!(!ended.stderr.contains(['\u{1b}', '\u{7}']), "{ended:?}");
    }
    let ended = run(&mut test_command(&format!("http://127.0.0.1:{}/", free_port()))).await;
    assert_refused(&ended, "Transient, connect", "nobody listens");
    let ended = run(&mut test_command("http://no-such-host.invalid/")).await;
    assert_refused(&ended, "Transient, dns", "no such name");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_message_is_accepted_whatever_follows() {
    for manner in [
        Manner::Endless(OK),
        Manner::EndlessChunks("HTTP/1.1 200 OK\r\n"),
        Manner::EndlessTrickle(OK),
        Manner::Says(OK.into()),
    ] {
        let server = Rude::start(manner.clone()).await;
        let began = Instant::now();
        let ended = run(&mut test_command(&server.url())).await;
        assert_eq!(ended.code, Some(0), "{manner:?}: {ended:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{manner:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_trusted_and_of_the_right_name() {
    let authority = Authority::new(&Cluster::shared().folder.join("https-ca"));
    let server = Rude::start_tls(Manner::Says(OK.into()), &authority).await;
    let url = |host: &str| format!("https://{host}:{}/hook", server.address.port());
    let with_ca = |url: &str| {
        let mut command = test_command(url);
        command.env("PGALERT_HTTP_CA_FILE", authority.file("ca.pem"));
        command
    };
    let ended = run(&mut with_ca(&url("localhost"))).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_refused(
        &run(&mut test_command(&url("localhost"))).await,
        "Transient, tls",
        "unknown CA",
    );
    assert_refused(&run(&mut with_ca(&url("127.0.0.1"))).await, "Transient, tls", "another name");

    let plain = Webhook::start().await;
    let ended = run(&mut test_command(&format!("https://{}/", plain.address))).await;
    assert_refused(&ended, "Transient, tls", "no TLS at all");
    let silent = Rude::start(Manner::Silent).await;
    let mut command = test_command(&format!("https://{}/", silent.address));
    let ended = run(command.env("PGALERT_HTTP_TLS_TIMEOUT", "300ms")).await;
    assert_refused(&ended, "Transient, timeout", "no end of the handshake");
    assert!(ended.stderr.contains("TLS handshake within 300ms"), "{ended:?}");
}

/// Its queue of connections is full, so that the system drops what else comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_takes_no_connection_is_waited_for_as_long_as_is_set() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    let connect = || tokio::net::TcpStream::connect(address);
    while let Ok(connection) = tokio::time::timeout(Duration::from_millis(200), connect()).await {
        queued.push(connection.unwrap());
    }
    let mut command = test_command(&format!("http://{address}/"));
    command.env("PGALERT_HTTP_TIMEOUT", "1m").env("PGALERT_HTTP_CONNECT_TIMEOUT", "300ms");
    let ended = run(&mut command).await;
    assert_refused(&ended, "Transient, timeout", "no connection");
    assert!(ended.stderr.contains("no connection within 300ms"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let inside = Webhook::start().await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let location = inside.url();
        let server = Rude::start(Manner::Says(format!(
            "HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        )))
        .await;
        let ended = run(&mut test_command(&server.url())).await;
        assert_refused(&ended, "Permanent, http.3xx", status);
        assert!(!ended.stderr.contains(&location), "{ended:?}");
    }
    assert_eq!(inside.count(), 0);
}

/// Both statuses and both forms: the pause is kept, and costs no retry.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_is_asked_for_is_kept_and_costs_no_retry() {
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(600));
    for (status, value, seconds) in [
        ("429 Slow", date.clone(), 540.0..640.0),
        ("429 Slow", "600".into(), 599.0..640.0),
        ("503 Busy", date, 540.0..640.0),
        ("503 Busy", "600".into(), 599.0..640.0),
        ("429 Slow", "999999999999".into(), 86_399.0..86_500.0),
        ("429 Slow", "soon".into(), 59.0..120.0),
    ] {
        let database = Cluster::shared().database().await;
        let session = database.connect().await;
        let answer =
            format!("HTTP/1.1 {status}\r\nRetry-After: {value}\r\nContent-Length: 0\r\n\r\n");
        let server = Rude::start(Manner::Says(answer)).await;
        add_recipient(&session, "ann", "webhook", &server.url()).await;
        fire(&session, "disk", &["webhook"]).await;
        assert_eq!(
            once(&mut pgalert("once", &database)).await,
            "0 delivered, 0 failed, 1 deferred, 0 skipped"
        );
        let due: f64 = session
            .query_one("SELECT extract(epoch FROM next_retry_at - created_at)::float8 FROM pgalert.alert_dlq WHERE state = 'waiting' AND retry_count = 0", &[])
            .await
            .unwrap()
            .get(0);
        assert!(seconds.contains(&due), "{status}, {value}: due after {due} s");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_keeps_500_characters_of_what_was_said_and_nothing_of_the_address() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let server = Webhook::start().await;
    let words: &'static str = "ü\n".repeat(40_000).leak();
    server.answer(move |_| Answer { body: words, ..Answer::status(400) });
    let address = format!("{}/T0KEN?secret=1", server.url());
    add_recipient(&session, "ann", "webhook", &address).await;
    fire(&session, "disk", &["webhook"]).await;
    once(&mut pgalert("once", &database)).await;
    let longest =
        number(&session, "SELECT max(length(error))::bigint FROM pgalert.delivery_failures").await;
    assert_eq!(longest, 500);
    let errors = texts(&session, "SELECT error_message FROM pgalert.alert_dlq").await;
    assert!(!errors[0].contains("T0KEN") && errors[0].contains("üüü"), "{errors:?}");
}

/// Requests share a connection of HTTP/2, so that without a look at it each would be lost until the system gives it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_died_in_silence_costs_no_message() {
    let database = Cluster::shared().database().await;
    let session = database.connect().await;
    let authority = Authority::new(&Cluster::shared().folder.join("h2-ca"));
    let server = Mortal::start(&authority, 1).await;
    let url = format!("https://localhost:{}/hook", server.port);
    add_recipient(&session, "ann", "webhook", &url).await;
    let mut command = pgalert("run", &database);
    command
        .env("PGALERT_HTTP_CA_FILE", authority.file("ca.pem"))
        .env("PGALERT_HTTP_TIMEOUT", "3s")
        .env("PGALERT_WORKER_QUICK_RETRIES", "10ms");
    let _driver = Driver::start(&mut command);
    for (id, count) in [("first", 1), ("second", 2)] {
        fire(&session, id, &["webhook"]).await;
        until_delivered(&database, count, LIMIT).await;
    }
    assert_eq!(server.connections(), 2);
}
