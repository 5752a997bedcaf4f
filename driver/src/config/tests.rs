use super::*;

fn load(file: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let path = std::env::temp_dir().join(format!("pgalert-config-{}.toml", rand::random::<u64>()));
    fs::write(&path, file).unwrap();
    let env = env
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    let config = Config::load(Some(&path), &env, Overrides::default());
    fs::remove_file(path).unwrap();
    config
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_defaults() {
    let config =
        load("[worker]\nbatch_size = 7\nreport_size = 8\n", &[("PGALERT_WORKER_BATCH_SIZE", "9")])
            .unwrap();
    assert_eq!((config.worker.batch_size, config.worker.report_size), (9, 8));
    assert_eq!(config.worker.lease, Duration::from_secs(60));
}

#[test]
fn unknown_keys_and_bad_values_are_named() {
    for (file, env, expected) in [
        ("[worker]\nbatchsize = 1\n", ("", ""), "there is no key \"worker.batchsize\""),
        ("[slcak]\n", ("", ""), "there is no key \"slcak\""),
        ("", ("PGALERT_WORKER_BATCH_SIZE", "many"), "PGALERT_WORKER_BATCH_SIZE cannot be \"many\""),
        ("[worker]\nlease = \"soon\"\n", ("", ""), "\"soon\" is no duration"),
        ("[worker]\nbatch_size = 0\n", ("", ""), "worker.batch_size is from 1 to 10000"),
        ("[email]\nhost = \"localhost\"\n", ("", ""), "email.from is needed"),
        ("[worker]\nbatch_size = \"x\"\n", ("", ""), "worker.batch_size"),
        ("[http]\nconnect_timeout = \"0s\"\n", ("", ""), "http.connect_timeout is more than 0"),
        ("[http]\ntls_timeout = \"0s\"\n", ("", ""), "http.tls_timeout is more than 0"),
        ("", ("PGALERT_HTTP_TIMEOUT", "0s"), "http.timeout is more than 0"),
        ("[email]\ntimeout = \"0ms\"\n", ("", ""), "email.timeout is more than 0"),
    ] {
        let error = load(file, &[env]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn secrets_are_refused_in_the_file_and_hidden_in_what_is_shown() {
    let error = load("[email]\npassword = \"hunter2\"\n", &[]).unwrap_err().to_string();
    assert!(error.contains("PGALERT_EMAIL_PASSWORD") && !error.contains("hunter2"), "{error}");
    let env =
        [("PGALERT_EMAIL_PASSWORD", "hunter2"), ("DATABASE_URL", "postgres://me:hunter2@db/x")];
    let config = load("", &env).unwrap();
    assert_eq!(config.email.password.expose(), "hunter2");
    assert!(!config.shown().contains("hunter2"), "{}", config.shown());
    assert!(!format!("{config:?}").contains("hunter2"));
    for url in ["postgres://me:hunter2@db/x", "host=db password=hunter2"] {
        let error = load(&format!("[database]\nurl = \"{url}\"\n"), &[]).unwrap_err();
        assert!(matches!(error, ConfigError::PasswordInUrl { .. }), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    load("[database]\nurl = \"postgres://me@db/x\"\n", &[]).unwrap();
}

#[test]
fn what_is_shown_says_where_it_is_from_and_can_be_read_again() {
    let env = [("PGALERT_WORKER_REPORT_SIZE", "9")];
    let shown = load("[worker]\nlease = \"30s\"\n", &env).unwrap().shown();
    assert!(shown.contains("report_size = 9  # PGALERT_WORKER_REPORT_SIZE\n"), "{shown}");
    assert!(shown.contains("lease = \"30s\"  # /"), "{shown}");
    assert!(shown.contains("batch_size = 500\n"), "{shown}");
    let read: Table = shown.parse().unwrap();
    assert_eq!(read["worker"]["report_size"].as_integer(), Some(9));
}

#[test]
fn the_environments_password_wins_over_the_files() {
    let env = [
        ("PGALERT_EMAIL_PASSWORD", "direct"),
        ("PGALERT_EMAIL_PASSWORD_FILE", "/nonexistent/password"),
    ];
    assert_eq!(load("", &env).unwrap().email.password.expose(), "direct");
    assert!(matches!(load("", &env[1..]), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn a_list_in_the_environment_has_commas() {
    let env = [
        ("PGALERT_HTTP_ALLOW_ADDRESSES", "10.0.0.0/8, hooks.internal,"),
        ("PGALERT_WORKER_QUICK_RETRIES", ""),
        ("PGALERT_LIMITS_PER_RECIPIENT", "30/m"),
    ];
    let config = load("", &env).unwrap();
    assert_eq!(config.http.allow_addresses, ["10.0.0.0/8", "hooks.internal"]);
    assert!(config.worker.quick_retries.is_empty());
    assert_eq!(config.limits.per_recipient.unwrap().burst_size().get(), 30);
    let bad = load("", &[("PGALERT_LIMITS_PER_RECIPIENT", "often")]).unwrap_err().to_string();
    assert!(bad.contains("\"often\" is no rate"), "{bad}");
}

#[test]
fn a_misspelt_variable_is_refused() {
    for (name, expected) in [
        ("PGALERT_EMIAL_HOST", "PGALERT_EMIAL_HOST; did you mean PGALERT_EMAIL_HOST?"),
        ("PGALERT_CHANNELS_NTFYY_SECRET", "did you mean PGALERT_CHANNELS_NTFY_SECRET?"),
        ("PGALERT_NONSENSE", "for the variable PGALERT_NONSENSE\n"),
    ] {
        let error = load("", &[(name, "x")]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let file = "[channels.own]\nurl = \"https://example.com/\"\n";
    load(file, &[("PGALERT_CHANNELS_OWN_SECRET", "x"), ("PGALERT_CONFIG", "x")]).unwrap();
}

#[test]
fn the_desk_knows_its_proxies_and_hides_its_tokens() {
    let token = [("PGALERT_DESK_READ_ONLY_TOKEN", "sixteen letters or more")];
    let config = load("", &token).unwrap();
    assert!(config.desk.authenticates() && !config.shown().contains("sixteen"), "{config:?}");
    let file =
        "[desk]\nproxy_header = \"X-User\"\ntrusted_proxies = [\"10.0.0.5\", \"10.1.0.0/16\"]\n";
    let networks = load(file, &[]).unwrap().desk.trusted_proxies;
    assert_eq!(
        networks.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.5/32", "10.1.0.0/16"]
    );
    for (file, expected) in [
        ("operator_token = \"x\"", "PGALERT_DESK_OPERATOR_TOKEN"),
        ("database_url = \"postgres://me:secret@db/x\"", "PGALERT_DESK_DATABASE_URL"),
        ("proxy_header = \"X-User\"", "set together"),
        ("operators = [\"ada\"]", "which is not set"),
        ("trusted_proxies = [\"proxy\"]\nproxy_header = \"X-User\"", "\"proxy\" is no address"),
        ("listen = \"9188\"", "listen"),
    ] {
        let error = load(&format!("[desk]\n{file}\n"), &[]).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("secret@"), "{error}");
    }
}

#[test]
fn traces_go_nowhere_by_default_and_their_headers_are_hidden() {
    assert_eq!(load("", &[]).unwrap().traces.endpoint, "");
    let file = "[traces]\nendpoint = \"http://file:4318\"\nsample_ratio = 1\n";
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318"),
        ("OTEL_SERVICE_NAME", "alerts"),
        ("PGALERT_TRACES_SAMPLE_RATIO", "0.1"),
        ("PGALERT_TRACES_SECRET_HEADERS", "api-key=hunter2"),
    ];
    let config = load(file, &env).unwrap();
    assert_eq!(config.traces.endpoint, "http://otel:4318");
    assert_eq!((config.traces.service_name.as_str(), config.traces.sample_ratio), ("alerts", 0.1));
    assert_eq!(config.traces.secret_headers(), "api-key=hunter2");
    assert!(!config.shown().contains("hunter2"), "{}", config.shown());
    let own = [env[0], ("PGALERT_TRACES_ENDPOINT", "http://own:4318")];
    assert_eq!(load(file, &own).unwrap().traces.endpoint, "http://own:4318");
    for (file, expected) in [
        ("sample_ratio = 1.5", "from 0 to 1"),
        ("sample_ratio = nan", "from 0 to 1"),
        ("endpoint = \"127.0.0.1:4318\"", "http or https URL"),
        ("endpoint = \"https://me:hunter2@otel/\"", "http or https URL"),
        ("secret_headers = \"api-key=hunter2\"", "PGALERT_TRACES_SECRET_HEADERS"),
    ] {
        let error = load(&format!("[traces]\n{file}\n"), &[]).unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
    let bad = load("", &[("PGALERT_TRACES_SAMPLE_RATIO", "often")]).unwrap_err().to_string();
    assert!(bad.contains("it is a number"), "{bad}");
}
