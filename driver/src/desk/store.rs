//! A few connections to the database, each request in one transaction. Nothing of a session outlives it, so that a
//! transaction pooler may stand between.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use deadpool::managed::{self, Metrics, Object, Pool, RecycleError, RecycleResult};
use deadpool::Runtime;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, Transaction};

use super::fault::Fault;
use crate::connect::{connect, ConnectError, Params};
use crate::database::{Caller, Param};

/// The server ends what takes longer; the desk waits a little more for it to say so.
const STATEMENT_TIMEOUT: &str = "15s";
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(5);

pub struct Opener {
    params: Arc<Params>,
}

impl managed::Manager for Opener {
    type Type = Client;
    type Error = ConnectError;

    async fn create(&self) -> Result<Client, ConnectError> {
        Ok(connect(&self.params).await?.client)
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<ConnectError> {
        client.simple_query("").await.map(drop).map_err(|e| RecycleError::message(e.to_string()))
    }
}

pub type Connection = Object<Opener>;

pub struct Store {
    pool: Pool<Opener>,
}

impl Store {
    /// Opens nothing yet.
    pub fn new(params: Arc<Params>, connections: usize) -> anyhow::Result<Self> {
        let pool = Pool::builder(Opener { params })
            .max_size(connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECTION_TIMEOUT))
            .create_timeout(Some(CONNECTION_TIMEOUT))
            .recycle_timeout(Some(CONNECTION_TIMEOUT))
            .build()
            .context("the desk cannot pool connections")?;
        Ok(Self { pool })
    }

    pub async fn connection(&self) -> Result<Connection, Fault> {
        Ok(self.pool.get().await?)
    }
}

/// A transaction that can only read.
pub async fn reading(connection: &mut Connection) -> Result<Transaction<'_>, Fault> {
    begin(connection, "READ ONLY", "").await
}

/// A transaction in which `operator` acts.
pub async fn acting<'a>(
    connection: &'a mut Connection,
    operator: &str,
) -> Result<Transaction<'a>, Fault> {
    begin(connection, "READ WRITE", operator).await
}

async fn begin<'a>(
    connection: &'a mut Connection,
    access: &str,
    operator: &str,
) -> Result<Transaction<'a>, Fault> {
    let transaction = within(connection.transaction()).await?;
    within(transaction.batch_execute(&format!("SET TRANSACTION {access}"))).await?;
    let sql = "SELECT pg_catalog.set_config('statement_timeout', $1, true), \
               pg_catalog.set_config('pgalert.operator', $2, true)";
    let params: [Param; 2] = [(&STATEMENT_TIMEOUT, Type::TEXT), (&operator, Type::TEXT)];
    transaction.call(sql, &params).await?;
    Ok(transaction)
}

pub async fn commit(transaction: Transaction<'_>) -> Result<(), Fault> {
    within(transaction.commit()).await
}

impl Caller for Transaction<'_> {
    type Error = Fault;

    async fn call(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        within(self.query_typed(sql, params)).await
    }

    fn no_row() -> Fault {
        Fault::Unavailable
    }
}

async fn within<T>(
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Fault::Unavailable),
    }
}
