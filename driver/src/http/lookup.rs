//! Names are resolved by the system, each on a thread of a pool that the whole program shares. Users choose names, and one
//! whose servers never answer holds its thread for much longer than a connection may take. So a name takes one thread, however
//! many wait for it, and all names of one client leave threads to the others.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use futures_util::future::{BoxFuture, Shared};
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Tokio has 512, and there is a client for users' URLs, one for the operator's, and one for the mail server.
const THREADS: usize = 128;

type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;
type Ask = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

#[derive(Clone)]
pub struct Names {
    ask: Ask,
    threads: Arc<Semaphore>,
    under_way: Arc<Mutex<HashMap<String, Shared<BoxFuture<'static, Found>>>>>,
}

impl Names {
    pub fn of_the_system() -> Self {
        Self::asking(Arc::new(|name| Ok((name, 0).to_socket_addrs()?.collect())))
    }

    fn asking(ask: Ask) -> Self {
        Self { ask, threads: Arc::new(Semaphore::new(THREADS)), under_way: Arc::default() }
    }

    /// What is known when the last question has been answered is asked anew: how long it holds is the system's to know.
    pub fn find(&self, name: String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let mut under_way = self.under_way.lock();
        let found = match under_way.get(&name) {
            Some(found) => found.clone(),
            None => {
                // A task of its own: who asked may give up.
                let task = tokio::spawn(self.clone().look(name.clone()));
                let found = task.map(|ended| ended.unwrap_or_else(|e| Err(failed(e))));
                let found = found.boxed().shared();
                under_way.insert(name, found.clone());
                found
            }
        };
        found.map(|found| found.map_err(|e| io::Error::new(e.kind(), e.to_string()))).boxed()
    }

    async fn look(self, name: String) -> Found {
        let _thread = self.threads.acquire().await;
        let (ask, asked) = (self.ask.clone(), name.clone());
        let found = spawn_blocking(move || ask(&asked).map_err(Arc::new)).await;
        self.under_way.lock().remove(&name);
        found.unwrap_or_else(|error| Err(failed(error)))
    }
}

fn failed(error: tokio::task::JoinError) -> Arc<io::Error> {
    Arc::new(io::Error::other(error))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn one_name_takes_one_thread_and_another_is_found_beside_it() {
        let (answer, held) = mpsc::channel::<()>();
        let (held, asked) = (Mutex::new(held), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        let names = Names::asking(Arc::new(move |name| {
            count.fetch_add(1, Ordering::Relaxed);
            if name == "silent.example" {
                let _ = held.lock().recv();
            }
            Ok(vec!["192.0.2.1:0".parse().unwrap()])
        }));
        let mut silent: Vec<_> = (0..1000).map(|_| names.find("silent.example".into())).collect();
        assert!(futures_util::poll!(&mut silent[0]).is_pending());
        assert_eq!(names.find("quick.example".into()).await.unwrap().len(), 1);
        silent.truncate(900);
        answer.send(()).unwrap();
        assert!(join_all(silent).await.into_iter().all(|found| found.is_ok()));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        names.find("quick.example".into()).await.unwrap();
        assert_eq!(asked.load(Ordering::Relaxed), 3, "an answer is not kept");
    }
}
