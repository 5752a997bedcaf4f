use thiserror::Error;
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification};
#[derive(Debug, Error)]
pub enum ParamError {
    #[error("{0}")]
    Bad(String),
}
#[derive(Debug, Error)]
pub enum ConnectError {
    #[error("{0}")]
    Refused(String),
}
pub struct Params {
    config: tokio_postgres::Config,
}
impl Params {
    pub fn parse(url: &str, _env: &dyn Fn(&str) -> Option<String>) -> Result<Params, ParamError> {
        Ok(Params {
            config: url
                .parse()
                .map_err(|e: tokio_postgres::Error| ParamError::Bad(e.to_string()))?,
        })
    }
    pub fn redacted(&self) -> String {
        format!("{:?}", self.config.get_hosts())
    }
    pub fn set_password(&mut self, password: String) {
        self.config.password(password);
    }
}
pub struct Connected {
    pub client: Client,
    pub notifications: UnboundedReceiver<Notification>,
    pub tls: bool,
    pub host: String,
}
pub async fn connect(params: &Params) -> Result<Connected, ConnectError> {
    let (client, mut connection) =
        params.config.connect(NoTls).await.map_err(|e| ConnectError::Refused(e.to_string()))?;
    let (tx, notifications) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(n) = message {
                let _ = tx.send(n);
            }
        }
    });
    Ok(Connected { client, notifications, tls: false, host: params.redacted() })
}
