//! Accepting clients, and an end that lets them finish.

use crate::connection;
use crate::dispatch::dispatch;
use crate::listen::{Acceptor, Listener};
use build::Builder;
use buildkit_api::Door;
use engine::Engine;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// After an accept that failed (no descriptors left), so that a loop does not burn a CPU.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// Answers clients until `end` is there; then idle ones are let go at once, requests in work get a few seconds, and
/// streams stop. Sockets that were made are removed.
/// `metrics`: a port for the counts alone.
pub async fn serve(
    engine: Arc<Engine>,
    listeners: Vec<Listener>,
    metrics: Option<std::net::TcpListener>,
    end: impl Future<Output = ()>,
) -> io::Result<()> {
    let (ending, watch) = watch::channel(false);
    let buildkit = Arc::new(Door::new(Arc::new(Builder::new(Arc::clone(&engine)))));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let services = (Arc::clone(&engine), Arc::clone(&buildkit));
        accepting.spawn(accept(listener.into_acceptor()?, services, watch.clone()));
    }
    if let Some(listener) = metrics {
        let (engine, watch) = (Arc::clone(&engine), watch.clone());
        accepting.spawn(async move {
            if let Err(error) = crate::metrics::serve(listener, engine, watch).await {
                tracing::error!("serve the metrics: {error}");
            }
        });
    }
    drop(watch);
    end.await;
    // Who listens: the accept loops and the connections.
    let _ = ending.send(true);
    while accepting.join_next().await.is_some() {}
    ending.closed().await;
    Ok(())
}

async fn accept(acceptor: Acceptor, (engine, buildkit): (Arc<Engine>, Arc<Door>), mut ending: watch::Receiver<bool>) {
    loop {
        let socket = tokio::select! {
            socket = acceptor.accept() => socket,
            _ = ending.wait_for(|ending| *ending) => return,
        };
        match socket {
            Ok(socket) => {
                let (engine, buildkit) = (Arc::clone(&engine), Arc::clone(&buildkit));
                let handle = move |request| dispatch(Arc::clone(&engine), Arc::clone(&buildkit), request);
                tokio::spawn(connection::serve(socket, handle, ending.clone()));
            }
            Err(error) => {
                tracing::error!("accept a client: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
