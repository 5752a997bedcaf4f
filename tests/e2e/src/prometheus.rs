//! A real Prometheus that scrapes drivers, and the answers to its queries.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::tools::{free_port, http_get, until};

pub struct Prometheus {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Prometheus {
    /// Scrapes /metrics at these ports of this machine, each second.
    pub async fn start(targets: &[u16]) -> Prometheus {
        let port = free_port();
        let folder = std::env::temp_dir()
            .join(format!("pgalert-e2e.{}.prometheus{port}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let targets: Vec<String> =
            targets.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: pgalert\n  static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("prometheus (tests/setup.sh installs it): {error}"));
        let prometheus = Prometheus { process, folder, port };
        until("Prometheus is ready", Duration::from_secs(60), async || {
            match http_get(port, "/-/ready").await {
                Ok((200, _)) => Ok(()),
                other => Err(other),
            }
        })
        .await;
        prometheus
    }

    /// Labels and value of each series that an instant query gives.
    pub async fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let escaped: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query?query={escaped}");
        let (status, body) = http_get(self.port, &path).await.unwrap();
        assert_eq!(status, 200, "{expression}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let series = answer["data"]["result"].as_array().unwrap();
        series
            .iter()
            .map(|one| {
                let value = one["value"][1].as_str().unwrap().parse().unwrap();
                (one["metric"].clone(), value)
            })
            .collect()
    }

    /// The value of an expression that gives one series, or nothing yet.
    pub async fn value(&self, expression: &str) -> Option<f64> {
        let series = self.query(expression).await;
        assert!(series.len() <= 1, "{expression} gives several series: {series:?}");
        series.first().map(|(_, value)| *value)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
